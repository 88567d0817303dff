"""From matte and parsing to the head's matte: the person without clothes, in one piece."""

from __future__ import annotations

import cv2
import numpy as np

from headavatar.scene import PARSING_CLASSES, Array

CLOTHES = PARSING_CLASSES.index("clothes")
BACKGROUND = PARSING_CLASSES.index("background")
SHARPEN = (0.3, 0.7)
"""Share of the head between which its matte rises from 0 to 1; a softer rise leaves a ghost of the clothes."""
BLUR_SHARE = 2.0 / 256
"""Blur of the parsing before head and clothes are told apart, in sides of the crop."""
REACH_SHARE = 0.03
"""Hair this far from the head's one piece, in sides of the crop, still belongs to it."""


def smoothstep(values: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def head_share(probabilities: Array) -> Array:
    """How much of the person around each pixel is head and not clothes.

    Args:
        probabilities: (H, W, 6) of `PARSING_CLASSES`.
    Returns:
        (H, W) in [0, 1]; hair, skin and what is worn on the head against clothes. Both are blurred first, so that the
        person's soft outline follows the person beside it.
    """
    sigma = BLUR_SHARE * probabilities.shape[0]
    clothes = cv2.GaussianBlur(probabilities[..., CLOTHES], (0, 0), sigma)
    person = cv2.GaussianBlur(1 - probabilities[..., BACKGROUND], (0, 0), sigma)
    return np.clip(1 - clothes / np.maximum(person, 1e-4), 0, 1)


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
