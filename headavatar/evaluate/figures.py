"""PSNR, SSIM, LPIPS and L1 of one picture, over the whole crop and over the face alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headavatar.metrics.l1 import l1
from headavatar.metrics.lpips import Lpips, lpips
from headavatar.metrics.psnr import psnr
from headavatar.metrics.ssim import ssim
from headavatar.metrics.truth import rectangle_of
from headavatar.scene import Array

NAMES = ("psnr", "ssim", "lpips", "l1")
FLICKER = "temporal_difference_error"
Figures = dict[str, float]


def compare(network: Lpips, image: Array, truth: Array, valid: Array, face: Array) -> Figures:
    """All figures of a picture.

    Args:
        network: of LPIPS.
        image, truth: (H, W, 3) in [0, 1].
        valid: (H, W) bool; other pixels count in nothing: for PSNR and SSIM they are left out, for LPIPS, which needs
            a picture without holes, both are white there.
        face: (H, W) bool; the face's figures are left out where it is empty.
    Returns:
        psnr, ssim, lpips, l1, and the same with face_ before them (LPIPS: of the rectangle around the face, white
        outside it).
    """
    found = {
        "psnr": psnr(image, truth, valid), "ssim": ssim(image, truth, valid),
        "lpips": lpips(network, _keep(image, valid), _keep(truth, valid)), "l1": l1(image, truth, valid),
    }  # fmt: skip
    seen = face & valid
    if seen.any():
        box = rectangle_of(seen)
        found |= {
            "face_psnr": psnr(image, truth, seen), "face_ssim": ssim(image, truth, seen),
            "face_lpips": lpips(network, _keep(image, seen)[box], _keep(truth, seen)[box]),
            "face_l1": l1(image, truth, seen),
        }  # fmt: skip
    return found


def mean(figures: Sequence[Figures]) -> dict[str, float | dict[str, float]]:
    """Means over frames: psnr, ssim, lpips, l1, flicker where any frame has it, and the first four under "face"."""

    def average(name: str) -> float:
        values = [one[name] for one in figures if name in one]
        return round(float(np.mean(values)), 5) if values else float("nan")

    return {
        **{name: average(name) for name in NAMES},
        **({FLICKER: average(FLICKER)} if any(FLICKER in one for one in figures) else {}),
        "face": {name: average(f"face_{name}") for name in NAMES},
    }


def _keep(image: Array, mask: Array) -> Array:
    kept: Array = np.where(mask[..., None], image, np.float32(1.0)).astype(np.float32)
    return kept
