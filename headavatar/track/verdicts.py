"""For each frame of a clip: is its track to be trusted, and if not, what failed.

`preprocess` has judged the picture; here the rest is judged by what tracking learns: what hides the face, whether the
landmarks hold together in time, and whether the fitted head agrees with them. What is judged by the picture alone is
left out before anything is fitted, so that it spoils neither identity nor texture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headavatar.scene import Array

REASONS = {
    "no_face": "no face",
    "two_faces": "two faces",
    "cut_off": "face cut off by the picture's edge",
    "blurred": "blurred",
    "occluded": "something in front of the face",
    "landmarks_lost": "landmarks lost the face",
    "off_the_model": "landmarks no head can have",
}
"""Reason in quality.json → words; the first four are preprocess' too."""

LEAST_SHARE = 0.75
"""A clip of which less than this share of the frames is tracked does not pass `--strict`."""

BLUR_SHARE = 0.6
"""A face with less than this share of the sharpness of the frames around it is blurred."""
AROUND = 24
"""Frames on either side that sharpness is compared with: a face turned away is less sharp than one from the front."""
HIDDEN_SHARE = 0.06
"""Share of the visible face that may be hidden, beyond what is hidden in most frames."""
LEAP = 0.5
"""Way of the face, in distances of the outer eye corners, from where the frames before and after put it."""
NEIGHBOR_S = 0.25
"""Frames further apart than this say nothing of each other's place."""
LOST = 0.15
"""Landmark error above which it is the landmarks that are wrong, not the head's shape."""

_OUTLIER_DEVIATIONS = 8.0
_OUTLIER_FLOOR = 0.04
"""Below this no frame is an outlier, however small the others' errors are: heads turned by 45° reach 0.03 to 0.04."""


def of_pictures(
    sharpness: Array, hidden: Array, landmarks: Array, times_s: Array, eye_corners: Sequence[int]
) -> list[str]:
    """Say of each frame what is wrong before anything is fitted.

    Args:
        sharpness: (T,) of the face, NaN where unknown.
        hidden: (T,) share of the visible face that something hides.
        landmarks: (T, L, 3) pixels.
        times_s: (T,) seconds.
        eye_corners: the two landmarks whose distance measures.
    Returns:
        for each frame "" or a key of `REASONS`.
    """
    reasons = np.full(len(sharpness), "", dtype=object)
    # the later explains the earlier: what is blurred or elsewhere looks like something in front, too
    reasons[hidden > np.median(hidden) + HIDDEN_SHARE] = "occluded"
    reasons[blurred(sharpness)] = "blurred"
    reasons[leaps(landmarks, times_s, eye_corners)] = "landmarks_lost"
    return [str(reason) for reason in reasons]


def blurred(sharpness: Array) -> Array:
    """(T,) bool: faces far less sharp than in the frames around."""
    padded = np.pad(sharpness, AROUND, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)
    known = np.isfinite(sharpness)
    usual = np.full(len(sharpness), np.nan)
    usual[known] = np.nanmedian(around[known], axis=1)
    return np.asarray(known & (sharpness < BLUR_SHARE * usual))


def leaps(landmarks: Array, times_s: Array, eye_corners: Sequence[int]) -> Array:
    """(T,) bool: faces that are elsewhere for one frame and back in the next."""
    centers = landmarks[..., :2].mean(1)
    first, second = eye_corners
    unit = np.median(np.linalg.norm(landmarks[:, first, :2] - landmarks[:, second, :2], axis=1))
    result = np.zeros(len(landmarks), bool)
    if len(landmarks) < 3:
        return result
    span = times_s[2:] - times_s[:-2]
    share = ((times_s[1:-1] - times_s[:-2]) / np.maximum(span, 1e-9))[:, None]
    between = centers[:-2] + share * (centers[2:] - centers[:-2])
    away = np.linalg.norm(centers[1:-1] - between, axis=1)
    way = np.linalg.norm(centers[2:] - centers[:-2], axis=1)
    result[1:-1] = (span < 2 * NEIGHBOR_S) & (away > LEAP * unit) & (away > 2 * way)
    return result


def fits(error: Array) -> Array:
    """(T,) bool: frames whose landmark error is no outlier among the clip's."""
    middle = float(np.median(error))
    spread = 1.4826 * float(np.median(np.abs(error - middle)))
    return error <= max(middle + _OUTLIER_DEVIATIONS * spread, _OUTLIER_FLOOR)


def rows(
    table: Sequence[Mapping[str, Any]], frame_idx: Array, errors: Array, kept: Array, kept_errors: Array,
    overlaps: Sequence[float | None],
) -> list[dict[str, Any]]:  # fmt: skip
    """The verdict on every frame of the clip, as in quality.json.

    Args:
        table: frame, reason and figures of every frame, known before the fit.
        frame_idx: (n,) frames that went into the fit.
        errors: (n,) their landmark errors when they were accepted or left out.
        kept: (T,) positions among those n of the frames that the fit accepted.
        kept_errors: (T,) their final landmark errors.
        overlaps: T, of the face's outline.
    Returns:
        for each frame: frame, usable, reason, landmark_error, silhouette_iou (None where it was not fitted), and the
        table's other figures.
    """
    fitted = {int(frame): position for position, frame in enumerate(frame_idx)}
    accepted = {int(position): row for row, position in enumerate(kept)}
    result = []
    for entry in table:
        position = fitted.get(int(entry["frame"]))
        row = accepted.get(position) if position is not None else None
        reason, error, overlap = str(entry["reason"]), None, None
        if row is not None:
            error, overlap = float(kept_errors[row]), overlaps[row]
        elif position is not None:
            error = float(errors[position])
            reason = "landmarks_lost" if error > LOST else "off_the_model"
        figures = {key: value for key, value in entry.items() if key not in ("frame", "reason")}
        result.append(
            {"frame": int(entry["frame"]), "usable": row is not None, "reason": reason,
             "landmark_error": None if error is None else round(error, 5), "silhouette_iou": overlap, **figures}
        )  # fmt: skip
    return result


def failures(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many frames each reason took, the most frequent first."""
    return dict(Counter(str(row["reason"]) for row in verdicts if not row["usable"]).most_common())


def too_few(failed: Mapping[str, int], frames: int) -> str:
    """What `--strict` has to say of the failed frames of a clip, "" if that is nothing."""
    lost = sum(failed.values())
    if frames - lost >= LEAST_SHARE * frames:
        return ""
    why = ", ".join(f"{count} {REASONS.get(reason, reason)}" for reason, count in failed.items())
    return f"{frames - lost} of {frames} frames are tracked, less than {LEAST_SHARE:.0%}: {why}"
