"""Peak signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from ..scene import Array

CEILING_DB = 100.0
"""What identical images score; infinity would not survive a mean."""


def psnr(image: Array, truth: Array, mask: Array | None = None) -> float:
    """Peak signal-to-noise ratio, -10 log10 of the mean squared error over all channels.

    Args:
        image, truth: (H, W, 3) in [0, 1].
        mask: (H, W) bool, the pixels that count; all where None.
    Returns:
        decibels, at most `CEILING_DB`.
    Raises:
        ValueError: the shapes differ or no pixel counts.
    """
    if image.shape != truth.shape:
        raise ValueError(f"images of shapes {image.shape} and {truth.shape} cannot be compared")
    squared = (np.asarray(image, np.float64) - truth) ** 2
    if mask is not None:
        squared = squared[np.asarray(mask, bool)]
    if squared.size == 0:
        raise ValueError("no pixel to compare: the mask is empty")
    return float(min(CEILING_DB, -10.0 * np.log10(max(squared.mean(), 1e-30))))
