"""Pictures beside and below each other, with words on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headavatar.scene import Array

INK = (40, 40, 40)
HOLDOUT = (255, 140, 0)
"""Orange marks frames that fit has not seen."""


def to_uint8(rgb: Array) -> Array:
    """(H, W, 3) floats in [0, 1] → uint8."""
    return (np.clip(rgb, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def composite(rgb: Array, alpha: Array, background: tuple[float, float, float] | Array) -> Array:
    """Put a picture over a plain color or another picture.

    Args:
        rgb: (H, W, 3) uint8.
        alpha: (H, W) uint8.
        background: RGB in [0, 1], or (H, W, 3) uint8.
    Returns:
        (H, W, 3) uint8.
    """
    a = alpha[..., None].astype(np.float32) / 255.0
    plain = not isinstance(background, np.ndarray)
    below = np.asarray(background, np.float32) * (255.0 if plain else 1.0)
    return (rgb * a + below * (1 - a) + 0.5).astype(np.uint8)


def resize(rgb: Array, width: int, height: int) -> Array:
    """(h, w, 3) uint8 → (height, width, 3), by area when shrinking."""
    import cv2

    if rgb.shape[1] == width and rgb.shape[0] == height:
        return rgb
    shrink = width < rgb.shape[1]
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC))


def caption(rgb: Array, text: str, color: tuple[int, int, int] = INK, height_px: int = 0) -> Array:
    """A white strip with a line of text above a picture; the text is shrunk to fit its width.

    Args:
        height_px: of the strip; 0 takes a share of the picture's width.
    """
    import cv2

    width = rgb.shape[1]
    height = height_px or max(14, round(width * 0.085))
    strip = np.full((height, width, 3), 255, np.uint8)
    scale = height / 30.0
    (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale *= min(1.0, (width - 8) / max(length, 1))
    cv2.putText(
        strip, text, (4, round(height * 0.72)), cv2.FONT_HERSHEY_SIMPLEX, scale, color, max(1, round(scale * 1.6)),
        cv2.LINE_AA,
    )  # fmt: skip
    return np.concatenate([strip, rgb])


def bordered(rgb: Array, color: tuple[int, int, int], thickness_px: int = 3) -> Array:
    """The picture with a border drawn over its edge."""
    framed = rgb.copy()
    t = thickness_px
    framed[:t], framed[-t:], framed[:, :t], framed[:, -t:] = color, color, color, color
    return framed


def side_by_side(pictures: Sequence[Array]) -> Array:
    """Pictures of one height in a row."""
    return np.concatenate(list(pictures), axis=1)


def contact_sheet(pictures: Sequence[Array], columns: int, gap_px: int = 4) -> Array:
    """Pictures of one size as a table on white.

    Args:
        pictures: N × (H, W, 3) uint8.
        columns: pictures per row.
    Returns:
        (rows·(H + gap) + gap, columns·(W + gap) + gap, 3) uint8.
    """
    height, width = pictures[0].shape[:2]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + gap_px) + gap_px, columns * (width + gap_px) + gap_px, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y = gap_px + (i // columns) * (height + gap_px)
        x = gap_px + (i % columns) * (width + gap_px)
        sheet[y : y + height, x : x + width] = picture
    return sheet
