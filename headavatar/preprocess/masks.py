"""From matte and parsing to the head's matte: the person without clothes, in one piece."""

from __future__ import annotations

import cv2
import numpy as np

from headavatar.scene import PARSING_CLASSES, Array

CLOTHES = PARSING_CLASSES.index("clothes")
BACKGROUND = PARSING_CLASSES.index("background")
SHARPEN = (0.3, 0.7)
"""Share of the head between which its matte rises from 0 to 1; a softer rise leaves a ghost of the clothes."""
FLOOR = 0.04
"""A class with less probability is not there: the networks never give less than about 0.02 to any."""
BLURS = ((1.0, 2 / 256), (0.02, 8 / 256))
"""Weight, and blur in sides of the crop, of the parsing before head and clothes are told apart: the person's soft
outline follows the person beside it."""
UNNAMED = 0.3
"""Weight of a person whom the matte sees and the parsing does not, such as a black shirt's."""
PRIOR = 2e-4
"""Weight of the chin's say, where no class is near."""
REACH_SHARE = 0.03
"""Hair this far from the head's one piece, in sides of the crop, still belongs to it."""


def smoothstep(values: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def head_share(probabilities: Array, matte: Array, points: Array | None) -> Array:
    """How much of the person around each pixel is head and not clothes.

    Where the parsing sees no person nearby classes decide, and where the matte plainly does see one, or no class is
    near, the chin: what is below it is clothes.

    Args:
        probabilities: (H, W, 6) of `PARSING_CLASSES`.
        matte: (H, W) float32 in [0, 1], the person.
        points: (478, 3) landmarks in pixels of the crop, or None.
    Returns:
        (H, W) in [0, 1]; hair, skin and what is worn on the head against clothes.
    """
    side = probabilities.shape[0]
    sure = np.maximum(probabilities - FLOOR, 0)
    clothes = sure[..., CLOTHES]
    head = sure.sum(-1) - sure[..., BACKGROUND] - clothes
    below = _below_chin(points, side) if points is not None else np.zeros((side, side), np.float32)
    kernel = np.ones((2 * round(BLURS[0][1] * side) + 1,) * 2, np.uint8)
    missed = UNNAMED * sure[..., BACKGROUND] * cv2.erode((matte > 0.9).astype(np.float32), kernel)
    head, clothes = (
        values + missed * share for values, share in ((head, 1 - below), (clothes, below))
    )  # fmt: skip
    head_sum, clothes_sum = (np.full_like(clothes, PRIOR) * share for share in (1 - below, below))
    for weight, sigma_share in BLURS:
        head_sum += weight * cv2.GaussianBlur(head, (0, 0), sigma_share * side)
        clothes_sum += weight * cv2.GaussianBlur(clothes, (0, 0), sigma_share * side)
    return np.asarray(head_sum / (head_sum + clothes_sum))


def _below_chin(points: Array, side: int) -> Array:
    """(side, side) float32 in [0, 1]: below the chin, or beside it where shoulders are."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    width, height = high - low
    beside = np.maximum(np.abs(np.arange(side) + 0.5 - (low[0] + high[0]) / 2) / width - 0.5, 0)
    down = (np.arange(side) + 0.5 - high[1]) / height
    return np.asarray(smoothstep(down[:, None] + 1.2 * beside[None, :], -0.2, 0.0), np.float32)


def head_matte(matte: Array, share: Array, points: Array | None) -> Array:
    """The head's matte.

    Args:
        matte: (H, W) float32 in [0, 1], the person.
        share: (H, W) float32 in [0, 1], from `head_share`.
        points: (478, 3) landmarks in pixels of the crop, or None.
    Returns:
        (H, W) float32 in [0, 1].
    """
    head = matte * smoothstep(share, *SHARPEN)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((head > 0.5).astype(np.uint8), connectivity=8)
    if count == 1:
        return np.zeros_like(head)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    areas[0] = 0
    if points is not None:
        at = np.clip(np.round(points[:, :2] - 0.5).astype(int), 0, np.array(head.shape)[::-1] - 1)
        areas += np.bincount(labels[at[:, 1], at[:, 0]], minlength=count) * head.size
        areas[0] = 0
    piece = (labels == int(np.argmax(areas))).astype(np.uint8)
    reach = max(1, round(REACH_SHARE * head.shape[0]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return head * cv2.dilate(piece, kernel)
