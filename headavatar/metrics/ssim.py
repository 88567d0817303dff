"""Structural similarity."""

from __future__ import annotations

import cv2
import numpy as np

from ..scene import Array

SIGMA = 1.5
RADIUS = 5


def ssim_map(image: Array, truth: Array) -> Array:
    """Structural similarity at every pixel, the mean over channels.

    Gaussian windows of 11 x 11, sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance; borders are mirrored. These
    are the choices of the paper and of scikit-image's `gaussian_weights=True, use_sample_covariance=False`.

    Args:
        image, truth: (H, W, 3) in [0, 1].
    Returns:
        (H, W) in [-1, 1].
    Raises:
        ValueError: the shapes differ.
    Source: Wang et al., Image quality assessment: from error visibility to structural similarity, 2004, eq. 13.
    """
    if image.shape != truth.shape:
        raise ValueError(f"images of shapes {image.shape} and {truth.shape} cannot be compared")

    def blur(values: Array) -> Array:
        size = (2 * RADIUS + 1, 2 * RADIUS + 1)
        blurred: Array = cv2.GaussianBlur(values, size, SIGMA, borderType=cv2.BORDER_REFLECT)
        return blurred

    x, y = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    result: Array = (above / below).mean(axis=2)
    return result


def ssim(image: Array, truth: Array, mask: Array | None = None) -> float:
    """Mean structural similarity over the pixels of `mask`, or over all whose window lies inside the picture.

    Args:
        image, truth: (H, W, 3) in [0, 1].
        mask: (H, W) bool.
    Raises:
        ValueError: the shapes differ, no pixel counts, or the image is smaller than a window.
    """
    values = ssim_map(image, truth)
    chosen = values[RADIUS:-RADIUS, RADIUS:-RADIUS] if mask is None else values[np.asarray(mask, bool)]
    if chosen.size == 0:
        raise ValueError("no pixel to compare: the mask is empty or the image smaller than a window")
    return float(chosen.mean())
