"""Sharpens the matte's edge and takes the old background's colour out of it.

Matting networks draw the edge a pixel or two too wide, so a cut-out shows a fringe of the wall behind. Near the edge
each pixel is explained as a mixture of one foreground colour, looked for among certain foreground close by, and the
background there; the mixture that explains it best gives its alpha and its own colour. What no mixture explains, such
as hair as bright as the wall, keeps the network's alpha, and the edge moves by little: a chance colour makes no hole.

Source: the sampling idea of Gastal and Oliveira, Shared Sampling for Real-Time Alpha Matting, Eurographics 2010.
"""

from __future__ import annotations

import cv2
import numpy as np

from headavatar.preprocess.background import Plate
from headavatar.preprocess.masks import smoothstep
from headavatar.scene import Array

CERTAIN = (0.04, 0.96)
"""Mattes below the first are background, above the second, and not too near the edge, foreground."""
BAND_SHARE = 3.5 / 256
"""Width that is taken back from the certain foreground, in sides of the crop."""
REACHES = (1.3, 2.6)
"""Distances at which foreground colours are looked for, in band widths."""
DIRECTIONS = 8
TELLING_APART = (12.0, 40.0)
"""Color distance, of 255, of foreground and background from which on their mixture tells the alpha."""
SHOWN = (0.0, 0.15)
"""Alphas between which the foreground's colour takes over in the frame."""
RESIDUAL = 6.0
"""Color error, of 255, at which a mixture's say falls to 60 %."""
UNEXPLAINED = 12.0
"""Color error, of 255, of the best mixture at which its alpha is believed to 60 %."""
CALM_PX = 0.7
"""Blur of what is changed about the network's matte: against single pixels' noise, so not wider in larger crops."""
FARTHEST_SHARE = 2 / 256
"""How far the edge may move, in sides of the crop."""


def refine(frame: Array, matte: Array, plate: Plate | None) -> tuple[Array, Array]:
    """Refine a matte near its edge.

    Args:
        frame: (H, W, 3) uint8 RGB.
        matte: (H, W) float32 in [0, 1].
        plate: the clip's clean plate, where there is one.
    Returns:
        alpha (H, W) float32 in [0, 1], and the frame with the foreground's colour in its edge, uint8.
    """
    width = BAND_SHARE * frame.shape[0]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(width) + 1,) * 2)
    certain = cv2.erode((matte > CERTAIN[1]).astype(np.uint8), kernel, borderValue=1) > 0
    empty = matte < CERTAIN[0]
    rows, columns = np.nonzero(~certain & ~empty)
    if not len(rows) or not certain.any() or not empty.any():
        return matte, frame
    image = frame.astype(np.float32)
    behind = _local_mean(image, empty, 2 * width)
    if plate is not None:
        behind = np.where(plate.seen[..., None], plate.image.astype(np.float32), behind)
    color, back = image[rows, columns], behind[rows, columns]
    candidates, there = nearby_colors(image, certain, rows, columns, width)

    apart = candidates - back[None]
    square = (apart**2).sum(-1)
    mix = np.clip(((color - back)[None] * apart).sum(-1) / np.maximum(square, 1.0), 0, 1)
    residual = ((back[None] + mix[..., None] * apart - color[None]) ** 2).sum(-1)
    residual = np.where(there, residual, residual.max(0))
    least = residual.min(0)
    say = np.exp(-0.5 * (residual - least) / RESIDUAL**2) * there + 1e-12
    say /= say.sum(0)
    fore = (say[..., None] * candidates).sum(0)
    telling = smoothstep(np.sqrt((say * square).sum(0)), *TELLING_APART) * there.any(0)
    believed = telling * np.exp(-0.5 * least / UNEXPLAINED**2)
    change = believed * ((say * mix).sum(0) - matte[rows, columns])
    alpha = _changed_calmly(matte, rows, columns, change)

    refined = np.where(certain, 1.0, matte).astype(np.float32)
    refined[rows, columns] = alpha
    unmixed = fore + alpha[:, None] * (color - alpha[:, None] * fore - (1 - alpha[:, None]) * back)
    result = frame.copy()
    share = (telling * smoothstep(alpha, *SHOWN))[:, None]  # what nobody sees keeps the picture's own colour
    result[rows, columns] = np.round(np.clip(share * unmixed + (1 - share) * color, 0, 255))
    return refined, result


def _changed_calmly(matte: Array, rows: Array, columns: Array, change: Array) -> Array:
    """Alpha (N,) of pixels whose matte changes: smoothly along the edge, and only as far as the edge may move."""
    changes, changed = np.zeros_like(matte), np.zeros_like(matte)
    changes[rows, columns], changed[rows, columns] = change, 1
    smooth = cv2.GaussianBlur(changes, (0, 0), CALM_PX) / np.maximum(cv2.GaussianBlur(changed, (0, 0), CALM_PX), 1e-3)
    reach = max(1, round(FARTHEST_SHARE * matte.shape[0]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    low, high = cv2.erode(matte, kernel), cv2.dilate(matte, kernel)
    return np.asarray(np.clip(matte + smooth, low, high)[rows, columns])


def nearby_colors(image: Array, certain: Array, rows: Array, columns: Array, width: float) -> tuple[Array, Array]:
    """Colors of certain pixels around others.

    Args:
        image: (H, W, 3) float32.
        certain: (H, W) bool, whose colors are looked for.
        rows: (N,) of the pixels around which they are.
        columns: (N,) likewise.
        width: scale of the distances, pixels.
    Returns:
        colors (K, N, 3), and whether each was found (K, N).
    """
    smooth = _local_mean(image, certain, width / 3)
    height, length = certain.shape
    candidates, there = [_local_mean(image, certain, 1.5 * width)[rows, columns]], []
    there.append(cv2.GaussianBlur(certain.astype(np.float32), (0, 0), 1.5 * width)[rows, columns] > 1e-3)
    for reach in REACHES:
        for angle in np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS):
            at_row = np.clip(np.round(rows + reach * width * np.sin(angle)).astype(int), 0, height - 1)
            at_column = np.clip(np.round(columns + reach * width * np.cos(angle)).astype(int), 0, length - 1)
            candidates.append(smooth[at_row, at_column])
            there.append(certain[at_row, at_column])
    return np.stack(candidates), np.stack(there)


def _local_mean(image: Array, mask: Array, sigma: float) -> Array:
    """Mean colour (H, W, 3) of the masked pixels around every pixel; far from any, the mean of all."""
    weight = mask.astype(np.float32)
    total = cv2.GaussianBlur(image * weight[..., None], (0, 0), sigma)
    share = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    return np.where(share > 1e-3, total / np.maximum(share, 1e-3), image[mask].mean(0))
