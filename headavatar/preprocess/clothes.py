"""Where head and clothes meet, told by color.

The parsing is drawn for a picture of 256 pixels, smooth and a pixel or two too wide: a rim of the shirt counts as skin,
an avatar learns it as part of the neck, and a turned or driven head shows dark pieces there. Near clothes each pixel is
compared with colors of certain head and of certain clothes close by, and belongs to whichever is nearer. Only what the
parsing calls head is looked at, so a collar can be taken off a neck and nothing is added to it; where head and clothes
look alike, such as black hair over a black shirt, the parsing decides as before.
"""

from __future__ import annotations

import cv2
import numpy as np

from headavatar.preprocess.edges import CERTAIN, nearby_colors
from headavatar.preprocess.masks import smoothstep
from headavatar.scene import Array

REACH_SHARE = 5 / 256
"""How far inside the parsing's border clothes may reach, in sides of the crop."""
WIDTH_SHARE = 4 / 256
"""Scale of the distances at which colors are looked for, in sides of the crop."""
MARGIN = 6
"""How far around the place where head and clothes meet colors are looked for, in these widths."""
HEAD_FROM = (0.5, 0.85)
"""Shares between which the matte rises: a pixel half of a shirt shows the shirt, and is no head."""
TELLING_APART = (15.0, 40.0)
"""Color distance, of 255, between head and clothes from which on color decides."""
CALM_PX = 0.7
"""Blur of the shares, against single pixels' noise."""
SPECK_PX = 2
"""Radius of what is too thin to be a piece of the head."""


def without_clothes(frame: Array, matte: Array, head: Array) -> Array:
    """The head's matte without the rim of clothes that the parsing leaves in it.

    Args:
        frame: (H, W, 3) uint8 RGB.
        matte: (H, W) float32 in [0, 1], the person.
        head: (H, W) float32 in [0, 1], the part of it that the parsing calls head.
    Returns:
        (H, W) float32 in [0, 1], nowhere above `head`.
    """
    whole, side = head, frame.shape[0]
    around = _around(matte - head > 0.5, head > CERTAIN[0], round(MARGIN * WIDTH_SHARE * side))
    if around is None:
        return whole
    frame, matte, head = frame[around], matte[around], head[around]
    clothed = (matte - head > 0.5).astype(np.uint8)
    reach = _disc(REACH_SHARE * side)
    certain_head = cv2.erode((head > CERTAIN[1]).astype(np.uint8), reach, borderValue=1) > 0
    apart = ((matte > CERTAIN[1]) & (head < CERTAIN[0])).astype(np.uint8)
    certain_clothes = cv2.erode(apart, _disc(side / 256), borderValue=1) > 0
    doubtful = (cv2.dilate(clothed, reach) > 0) & (head > CERTAIN[0]) & ~certain_head
    rows, columns = np.nonzero(doubtful)
    if not len(rows) or not certain_head.any() or not certain_clothes.any():
        return whole
    image = frame.astype(np.float32)
    width = WIDTH_SHARE * side
    to_head, to_clothes = (
        _distance(image, certain, rows, columns, width) for certain in (certain_head, certain_clothes)
    )
    known = np.isfinite(to_head) & np.isfinite(to_clothes)
    to_head, to_clothes = np.where(known, to_head, 0), np.where(known, to_clothes, 0)
    told = smoothstep(to_head + to_clothes, *TELLING_APART) * known
    by_color = to_clothes**2 / np.maximum(to_head**2 + to_clothes**2, 1)

    here = head[rows, columns]
    share = head.copy()
    share[rows, columns] = told * by_color + (1 - told) * here
    share = cv2.GaussianBlur(share, (0, 0), CALM_PX)[rows, columns]
    cut = np.minimum(here, matte[rows, columns] * smoothstep(share, *HEAD_FROM))
    result = head.copy()
    result[rows, columns] = told * cut + (1 - told) * here
    piece = cv2.dilate(cv2.morphologyEx((result > 0.5).astype(np.uint8), cv2.MORPH_OPEN, _disc(SPECK_PX)), _disc(1))
    specks = (piece[rows, columns] == 0) & (told > 0.5)
    result[rows[specks], columns[specks]] = 0
    cut_out = whole.copy()
    cut_out[around] = result
    return cut_out


def _around(clothes: Array, head: Array, margin: int) -> tuple[slice, slice] | None:
    """The part of the picture where the two meet, with a margin; None where there are none."""
    ends = []
    for axis in (1, 0):
        spans = [np.flatnonzero(mask.any(axis)) for mask in (clothes, head)]
        if not all(len(span) for span in spans):
            return None
        low, high = max(span[0] for span in spans) - margin, min(span[-1] for span in spans) + margin + 1
        if low >= high:
            return None
        ends.append(slice(max(0, low), high))
    return ends[0], ends[1]


def _distance(image: Array, certain: Array, rows: Array, columns: Array, width: float) -> Array:
    """(N,) color distance, of 255, of pixels from the likest certain color around; infinite without any."""
    colors, there = nearby_colors(image, certain, rows, columns, width)
    distance = np.linalg.norm(colors - image[rows, columns], axis=-1)
    return np.asarray(np.where(there, distance, np.inf).min(0))


def _disc(radius: float) -> Array:
    """A structuring element."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(1, round(radius)) + 1,) * 2))
