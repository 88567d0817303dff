"""Mean absolute difference, and how far two outlines agree."""

from __future__ import annotations

import numpy as np

from ..scene import Array


def l1(image: Array, truth: Array, mask: Array) -> float:
    """Mean absolute difference of colors where a mask is true.

    Args:
        image, truth: (H, W, 3) in [0, 1].
        mask: (H, W) bool, true somewhere.
    """
    return float(np.abs(np.asarray(image, np.float64) - truth)[mask].mean())


def silhouette_iou(alpha: Array, matte: Array, mask: Array) -> float:
    """Intersection over union of what two mattes show at least by half, 1 where neither shows anything.

    Args:
        alpha, matte: (H, W) in [0, 1].
        mask: (H, W) bool, the pixels that count.
    """
    a, b = (alpha >= 0.5) & mask, (matte >= 0.5) & mask
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0
