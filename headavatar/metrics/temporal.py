"""Flicker: change from frame to frame that the truth does not have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..scene import Array


def temporal_difference_error(images: Sequence[Array], truths: Sequence[Array], mask: Array) -> float:
    """Mean absolute difference between how two consecutive pictures differ and how the truth's differ.

    A picture that is wrong in the same way in both frames counts as nothing: what is measured is flicker, and motion
    that the truth does not have or that is missing.

    Args:
        images, truths: the frame before and the frame after, (H, W, 3) in [0, 1].
        mask: (H, W) bool, true somewhere.
    Source:
        after dtSSD, of colors and absolute instead of squared, Erofeev et al. 2015, "Perceptually Motivated
        Benchmark for Video Matting".
    """
    change, wanted = (np.asarray(after, np.float64) - before for before, after in (images, truths))
    return float(np.abs(change - wanted)[mask].mean())
