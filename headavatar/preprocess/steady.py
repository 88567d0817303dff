"""Makes per-frame masks steady over time, where the picture itself stands still.

A pixel is averaged with the same pixel of neighbouring frames as far as its colour, and that of its surroundings, is
the same there: still parts lose their flicker and moving edges keep their place. Only the raw masks are read, so the
result does not depend on where a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from headavatar.scene import Array

REACH = 2
"""Neighbours looked at on either side."""
COLOR_SIGMA = 6.0
"""Colour difference, of 255, at which a neighbour's say falls to 60 %."""
SURROUNDINGS_PX = 2.0


def steadied(frames: Sequence[Array], masks: Sequence[Sequence[Array]], center: int) -> list[Array]:
    """Masks of one frame, averaged with its neighbours'.

    Args:
        frames: (H, W, 3) uint8, the frame and its neighbours.
        masks: for each kind of mask, (H, W) uint8 for each of the frames.
        center: position of the frame among `frames`.
    Returns:
        (H, W) float32 in [0, 1] for each kind of mask.
    """
    here = frames[center].astype(np.float32)
    total = np.ones(here.shape[:2], np.float32)
    sums = [kind[center].astype(np.float32) for kind in masks]
    for j, frame in enumerate(frames):
        if j == center:
            continue
        difference = np.abs(frame.astype(np.float32) - here).max(2)
        difference = cv2.GaussianBlur(difference, (0, 0), SURROUNDINGS_PX * here.shape[0] / 256)
        weight = np.exp(-0.5 * (difference / COLOR_SIGMA) ** 2)
        total += weight
        for kind, mask in enumerate(masks):
            sums[kind] += weight * mask[j]
    return [mask / (255 * total) for mask in sums]
