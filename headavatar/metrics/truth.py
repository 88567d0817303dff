"""What a render is compared with: the head on white, and the part of the picture that is the face."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..scene import Array

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""MediaPipe's points along the outline of the face."""


def on_white(image: Array, matte: Array) -> Array:
    """The supervised truth.

    Args:
        image: (H, W, 3) uint8.
        matte: (H, W) uint8.
    Returns:
        (H, W, 3) float32 in [0, 1]: the image where the matte is, white elsewhere.
    """
    alpha = np.asarray(matte, np.float32)[..., None] / 255
    return np.asarray(image, np.float32) / 255 * alpha + (1 - alpha)


def without_covered(picture: Array, covered: Sequence[Array] | None, frame: int) -> Array:
    """A prediction as it is compared: white where the truth's clothes hide what the head does there.

    Args:
        picture: (H, W, 3) float32 in [0, 1], over white.
        covered: `Clip.covered`.
        frame: position in the clip.
    """
    if covered is None:
        return picture
    share = np.asarray(covered[frame], np.float32)[..., None] / 255
    return picture * (1 - share) + share


def face_mask(landmarks: Array, height: int, width: int) -> Array:
    """(H, W) bool: inside the outline of the face; empty where the landmarks are missing.

    Args:
        landmarks: (478, 2 or 3) pixels.
    """
    mask = np.zeros((height, width), np.uint8)
    outline = landmarks[list(FACE_OVAL), :2]
    if np.isfinite(outline).all():
        cv2.fillPoly(mask, [np.round(outline - 0.5).astype(np.int32)], 1)
    return mask.astype(bool)


def rectangle_of(mask: Array) -> tuple[slice, slice]:
    """The smallest rectangle that holds a mask's pixels, as slices; the mask must have some."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
