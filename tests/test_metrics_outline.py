"""L1 and the outline's IoU: what eval reports beside PSNR, SSIM and LPIPS."""

from __future__ import annotations

import numpy as np
import pytest

from headavatar.metrics.l1 import l1, silhouette_iou


def test_l1_counts_what_the_mask_shows() -> None:
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    truth = rng.random((7, 5, 3))
    image = truth.copy()
    image[2:4, 1:3] += 0.25
    mask = np.zeros((7, 5), bool)
    mask[2:4] = True
    assert l1(image, truth, mask) == pytest.approx(0.25 * 4 / 10)
    assert l1(image, truth, ~mask) == 0


def test_outlines_agree_by_overlap() -> None:
    a, b, everywhere = np.zeros((4, 6)), np.zeros((4, 6)), np.ones((4, 6), bool)
    a[:, :4], b[:, 2:] = 0.9, 0.6
    assert silhouette_iou(a, b, everywhere) == pytest.approx(8 / 24)
    assert silhouette_iou(a, a * 0.6, everywhere) == 1
    assert silhouette_iou(a, b, np.arange(6)[None] >= np.full((4, 1), 4)) == 0
    assert silhouette_iou(a * 0, b * 0, everywhere) == 1
