"""Which frame of a clip shows the person at rest: the zero point of sweeps, orbits and relative transfer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headavatar.head.rotations import axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.scene import ARKIT_NAMES, Array, HeadParams

_LID = {"eyeBlink": 1.0, "eyeSquint": 0.4, "eyeLookDown": 0.4, "eyeWide": -0.5}
"""Share of the open lids' gap that each closes in the embedded head; trackers divide one closed eye among them."""
_LID_QUANTILE = 0.3
_LID_WEIGHT = 4.0
_TELLING = ("jawOpen", "mouthSmile", "brow")
_RESTING_QUANTILE = 0.1
_NOISE = 0.1
"""A coefficient this little above its resting value counts as rest."""
_RADIANS_PER_UNIT = 0.15
_NEIGHBORS = 2


def neutral_frame(params: HeadParams) -> int:
    """The frame nearest to rest: relaxed face, open eyes, the head as it is held for most of the clip.

    A person's resting face need not be zero, so every coefficient's tenth percentile over the clip stands for rest. A
    frame's distance from rest adds up what its coefficients have above that (jaw, smile and brows doubly), how far
    its lids are from where they are for most of the clip (their closing's 30th percentile, as blinks are short), the
    head's rotation from the clip's median one, and its jaw and eye rotations, in units of 0.15 rad. (The camera may
    stand above or beside the face, so the median says more of rest than the frontal view does; the neck bends as the
    head turns, and would count that twice.) The distance is
    averaged over two neighbors on each side, nearer ones counting more, so that one lucky frame in the middle of a
    movement is not chosen.

    Args:
        params: T ≥ 1 frames.
    Returns:
        Position of the frame, 0 … T-1.
    """
    distance = distance_from_rest(params)
    kernel = _NEIGHBORS + 1.0 - np.abs(np.arange(-_NEIGHBORS, _NEIGHBORS + 1))
    padded = np.pad(distance, _NEIGHBORS, mode="edge")
    return int(np.argmin(np.convolve(padded, kernel, mode="valid")))


def rest_of(params: HeadParams) -> HeadParams:
    """A clip's rest: the face of its neutral frame, the head where and as it is held for most of the clip.

    Args:
        params: T ≥ 1 frames.
    Returns:
        one frame (T = 1), with the clip's median rotation, translation and neck.
    """
    return replace(
        params[neutral_frame(params)],
        rotation=np.median(params.rotation, axis=0, keepdims=True),
        translation=np.median(params.translation, axis=0, keepdims=True),
        neck=np.median(params.neck, axis=0, keepdims=True),
    )


def distance_from_rest(params: HeadParams) -> Array:
    """(T,) how far each frame is from rest; see `neutral_frame`."""
    expression = np.asarray(params.expression, np.float64)
    weights = np.ones(expression.shape[1])
    lids = np.zeros(len(expression))
    if expression.shape[1] == len(ARKIT_NAMES):
        weights = np.array([_weight(name) for name in ARKIT_NAMES])
        closing = np.stack([lid_closing(expression, side) for side in ("Left", "Right")])
        usual = np.quantile(closing, _LID_QUANTILE, axis=1, keepdims=True)
        lids = np.maximum(np.abs(closing - usual) - _NOISE, 0.0).sum(axis=0)
    resting = np.quantile(expression, _RESTING_QUANTILE, axis=0)
    active = (np.maximum(expression - resting - _NOISE, 0.0) * weights).sum(axis=1)
    eyes = np.asarray(params.eyes).reshape(-1, 2, 3)
    rotations = axis_angle_to_matrix_np(np.asarray(params.rotation, np.float64))
    usual_pose = axis_angle_to_matrix_np(np.median(np.asarray(params.rotation, np.float64), axis=0))
    turned = np.linalg.norm(matrix_to_axis_angle_np(usual_pose.T @ rotations), axis=1)
    angles = turned + np.linalg.norm(params.jaw, axis=1) + 0.5 * np.linalg.norm(eyes, axis=2).mean(axis=1)
    return np.asarray(active + _LID_WEIGHT * lids + angles / _RADIANS_PER_UNIT)


def lid_closing(expression: Array, side: str) -> Array:
    """Share of the gap between the lids that is closed, 0 at the model's rest and 1 when they meet.

    Args:
        expression: (T, 52).
        side: "Left" or "Right".
    Returns:
        (T,), negative for a widened eye.
    """
    total = np.zeros(len(expression))
    for name, share in _LID.items():
        total += share * expression[:, ARKIT_NAMES.index(name + side)]
    return total


def _weight(name: str) -> float:
    if name.startswith(tuple(_LID)):
        return 0.0
    return 2.0 if name.startswith(_TELLING) else 1.0
