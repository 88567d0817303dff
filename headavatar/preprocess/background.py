"""The clean plate: what the camera sees where the person is not, put together over the clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from headavatar.scene import Array
from headavatar.workspace import layout
from headavatar.workspace.clips import read_image

SAMPLES = 48
MINIMUM_SEEN = 3
"""A pixel's background counts as seen once this many sampled frames show it."""
CLEAR = 8
"""A matte up to this, of 255, counts as background; hair's softest fringe lies above."""
MARGIN_SHARE = 0.02
"""Distance kept from the person, in sides of the crop."""
STILL = 10.0
"""Median deviation, of 255, up to which a background stands still."""
SMALLEST_SHARE = 0.25
"""A plate of which less than this share was ever seen is not worth keeping."""


@dataclass(frozen=True)
class Plate:
    """A background that stands still.

    Attributes:
        image: (H, W, 3) uint8 RGB, filled in where nothing was seen.
        seen: (H, W) bool, where the clip really shows it.
    """

    image: Array
    seen: Array


def clean_plate(partial: Path, count: int, valid: Array) -> Plate | None:
    """Put the background together from frames spread over the clip.

    Args:
        partial: folder with `crops` and `raw_mattes`.
        count: how many frames there are.
        valid: (H, W) bool, where the crop shows the picture.
    Returns:
        the plate, or None where the camera or the background moves, or too little of it is ever seen.
    """
    chosen = np.unique(np.linspace(0, count - 1, min(SAMPLES, count)).round().astype(int))
    margin = max(1, round(MARGIN_SHARE * valid.shape[0]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    frames = np.empty((len(chosen), *valid.shape, 3), np.uint8)
    hidden = np.empty((len(chosen), *valid.shape), bool)
    for k, index in enumerate(chosen):
        name = layout.frame_name(int(index))
        frames[k] = read_image(partial / "crops" / name)
        person = (read_image(partial / "raw_mattes" / name, gray=True) > CLEAR).astype(np.uint8)
        hidden[k] = cv2.dilate(person, kernel) > 0
    seen = ((~hidden).sum(0) >= MINIMUM_SEEN) & valid
    if seen.sum() < SMALLEST_SHARE * valid.sum():
        return None
    image = np.zeros((*valid.shape, 3), np.uint8)
    deviation = np.zeros(valid.shape, np.float32)
    for row in range(valid.shape[0]):  # by rows, so that the masked medians stay small
        colors = np.ma.masked_array(frames[:, row].astype(np.float32), np.repeat(hidden[:, row, :, None], 3, -1))
        middle = np.ma.median(colors, axis=0).filled(0)
        image[row] = np.round(middle)
        deviation[row] = np.ma.median(np.ma.abs(colors - middle).max(-1), axis=0).filled(0)
    if np.median(deviation[seen]) > STILL / 4 and np.percentile(deviation[seen], 90) > STILL:
        return None
    filled = cv2.inpaint(image, (~seen).astype(np.uint8), 3, cv2.INPAINT_TELEA)
    return Plate(np.asarray(filled), seen)
