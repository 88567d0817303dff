"""MediaPipe's 478 landmarks, corrected by 68 of another network.

Each of the 68 has a counterpart among the 478. What the two networks disagree on all the time is how they define the
point, and is no error of either; what they disagree on beyond that is shared out by how sure each of them is. The
corrections of the 68 are spread to the points around them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from headavatar.head.landmarks import EYE_OUTER_CORNERS, MEDIAPIPE_TO_68
from headavatar.preprocess.points68 import Points68
from headavatar.scene import Array

COUNTERPARTS = list(MEDIAPIPE_TO_68)
MEDIAPIPE_ERROR = 0.010
"""MediaPipe's usual error, in distances of the outer eye corners."""
NETWORK_ERROR = 0.012
"""The other network's where its heat map's peak is full; it grows as the peak falls."""
GROSS = 0.3
"""A disagreement beyond this is a face missed by one of them, and MediaPipe's stays."""
SURE = 0.1
"""Confidence below which a point says nothing."""
REACH = 0.18
"""How far a correction is felt, in distances of the outer eye corners."""
_STIFFNESS = 0.02


def fused(points: Array, other: Points68, trust: Literal["both", "face-alignment"]) -> Array:
    """Correct landmarks.

    Args:
        points: (N, 478, 3) MediaPipe's, pixels, NaN where there is no face; z keeps.
        other: the 68.
        trust: "both" shares disagreements out by confidence; "face-alignment" moves the counterparts to the 68 wherever
            these are there at all.
    Returns:
        (N, 478, 3).
    """
    seen = np.flatnonzero(np.isfinite(points[:, 0, 0]) & np.isfinite(other.points[:, 0, 0]))
    if not len(seen):
        return points
    frame, size = _frames(points[seen])
    known = other.confidence[seen] >= SURE
    away = np.einsum("nki,nij->nkj", other.points[seen] - points[seen][:, COUNTERPARTS, :2], frame)  # in faces' axes
    if trust == "both":
        away = away - _usual(away, known)
        error = NETWORK_ERROR / np.maximum(other.confidence[seen], SURE)
        share = MEDIAPIPE_ERROR**2 / (MEDIAPIPE_ERROR**2 + error**2)
    else:
        share = np.ones(known.shape)
    share = share * known * (np.linalg.norm(away, axis=2) < GROSS)
    spread = _spreading(points[seen], frame)
    moved = np.einsum("lk,nkj->nlj", spread, share[..., None] * away)
    result = points.copy()
    back = np.transpose(frame, (0, 2, 1)) * (size**2)[:, None, None]  # the inverse of a turn and a scale
    result[seen, :, :2] += np.einsum("nlj,nji->nli", moved, back)
    return result


def _frames(points: Array) -> tuple[Array, Array]:
    """Matrices (N, 2, 2) that turn row vectors of pixels into the face's axes and eye distances; these (N,), pixels."""
    right, left = EYE_OUTER_CORNERS
    across = points[:, left, :2] - points[:, right, :2]
    height = points[:, :468, 1].max(1) - points[:, :468, 1].min(1)
    # turned to the side the corners draw together, the face's height doesn't
    length = np.linalg.norm(across, axis=1)
    size = np.maximum(length, 0.5 * height)
    x = across / np.maximum(length, 1e-6)[:, None]
    turn = np.stack([x, np.stack([-x[:, 1], x[:, 0]], 1)], 2)  # columns are the face's axes
    return turn / size[:, None, None], size


def _usual(away: Array, known: Array) -> Array:
    """(68, 2) what the networks disagree on all the time."""
    masked = np.where(known[..., None], away, np.nan)
    usual = np.zeros(away.shape[1:])
    some = known.any(0)
    usual[some] = np.nanmedian(masked[:, some], axis=0)
    return usual


def _spreading(points: Array, frame: Array) -> Array:
    """(478, 68) how a correction of each of the 68 is felt at every landmark, by smooth interpolation over the face."""
    local = np.einsum("nli,nij->nlj", points[..., :2] - points[:, :468, :2].mean(1, keepdims=True), frame)
    middle = np.median(local, axis=0)

    def near(a: Array, b: Array) -> Array:
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(2) / (2 * REACH**2))

    inner = near(middle[COUNTERPARTS], middle[COUNTERPARTS]) + _STIFFNESS * np.eye(len(COUNTERPARTS))
    spread = np.linalg.solve(inner, near(middle, middle[COUNTERPARTS]).T).T
    spread[COUNTERPARTS] = np.eye(len(COUNTERPARTS))
    return np.asarray(spread)
