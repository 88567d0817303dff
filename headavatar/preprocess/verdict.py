"""For each frame: can it be used, and if not, why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from headavatar.preprocess.crop import Crop
from headavatar.scene import Array

REASONS = {
    "no_face": "no face",
    "two_faces": "two faces",
    "blurred": "blurred",
    "cut_off": "face cut off by the picture's edge",
}
"""Reason in frames.jsonl → words."""

BLUR_SHARE = 0.4
"""A face with less than this share of the clip's median sharpness is blurred."""
CUT_SHARE = 0.03
"""A face with more than this share of its landmarks outside the picture is cut off."""


def judge(points: Array, comparable: Array, sharpness: Array, crop: Crop, picture: tuple[int, int]) -> list[str]:
    """Say of each frame why it cannot be used.

    Args:
        points: (N, 478, 3) landmarks of the subject in pixels of the picture, NaN where there is none.
        comparable: (N,) faces of comparable size.
        sharpness: (N,) of the subject's face.
        crop: the clip's crop.
        picture: (width, height), pixels.
    Returns:
        for each frame "" if it can be used, else a key of `REASONS`.
    """
    detected = np.isfinite(points[:, 0, 0])
    usual = np.median(sharpness[detected]) if detected.any() else 0.0
    low = np.maximum((crop.x, crop.y), 0)
    high = np.minimum((crop.x + crop.side, crop.y + crop.side), picture)
    reasons = []
    for i in range(len(points)):
        outside = ((points[i, :, :2] < low) | (points[i, :, :2] > high)).any(-1).mean()
        if not detected[i]:
            reasons.append("no_face")
        elif comparable[i] > 1:
            reasons.append("two_faces")
        elif outside > CUT_SHARE:
            reasons.append("cut_off")
        elif sharpness[i] < BLUR_SHARE * usual:
            reasons.append("blurred")
        else:
            reasons.append("")
    return reasons


def summarize(reasons: Sequence[str]) -> str:
    """What was seen, in words: `3 of 90 frames can be used; 80 have no face, 7 have two faces`."""
    counts = Counter(reasons)
    usable = counts.pop("", 0)
    rest = ", ".join(f"{count} {REASONS[reason]}" for reason, count in counts.most_common())
    return f"{usable} of {len(reasons)} frames can be used" + (f"; not used: {rest}" if rest else "")
