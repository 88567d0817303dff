"""Flicker: what changes between frames and should not, and what should and does not."""

from __future__ import annotations

import numpy as np
import pytest

from headavatar.metrics.temporal import temporal_difference_error


def test_only_changes_that_the_truth_lacks_count(rng: np.random.Generator) -> None:
    before, after = rng.random((2, 9, 7, 3))
    wrong = rng.normal(size=(9, 7, 3))
    mask = rng.random((9, 7)) < 0.5
    mask[0, 0] = True
    # The same error in both frames is no flicker; an error of one frame alone is, and so is motion that is missing.
    assert temporal_difference_error((before + wrong, after + wrong), (before, after), mask) == pytest.approx(
        0, abs=1e-12
    )
    flicker = temporal_difference_error((before, after + wrong), (before, after), mask)
    assert flicker == pytest.approx(np.abs(wrong[mask]).mean())
    still = temporal_difference_error((before, before), (before, after), mask)
    assert still == pytest.approx(np.abs(after - before)[mask].mean())


def test_pixels_outside_the_mask_count_for_nothing(rng: np.random.Generator) -> None:
    before, after, noise = rng.random((3, 9, 7, 3))
    mask = np.arange(9)[:, None] < np.full((9, 7), 4)
    elsewhere = np.where(mask[..., None], 0, noise)
    assert temporal_difference_error((before, after + elsewhere), (before, after), mask) == 0
