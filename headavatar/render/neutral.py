"""Which frame of a clip shows the person at rest: the zero point of sweeps, orbits and relative transfer."""

from __future__ import annotations

import numpy as np

from headavatar.scene import ARKIT_NAMES, Array, HeadParams

_TELLING = ("eyeBlink", "jawOpen", "mouthSmile", "brow")
_WEIGHTS = np.array(
    [2.0 if name.startswith(_TELLING) else 0.5 if name.startswith("eyeLook") else 1.0 for name in ARKIT_NAMES]
)
_RESTING_QUANTILE = 0.1
_RADIANS_PER_UNIT = 0.3
_NEIGHBORS = 2


def neutral_frame(params: HeadParams) -> int:
    """The frame nearest to rest: relaxed face, looking straight ahead.

    Every coefficient's tenth percentile over the clip stands for its resting value (a person's resting face need not
    be zero). A frame's distance from rest is the weighted sum of what its coefficients have above that, plus its head,
    neck, jaw and eye rotations in units of 0.3 rad; lids, jaw, smile and brows weigh double, gaze half. The distance
    is averaged over two neighbors on each side, so that one lucky frame in the middle of a movement is not chosen.

    Args:
        params: T ≥ 1 frames.
    Returns:
        Position of the frame, 0 … T-1.
    """
    distance = distance_from_rest(params)
    kernel = np.ones(2 * _NEIGHBORS + 1)
    padded = np.pad(distance, _NEIGHBORS, mode="edge")
    return int(np.argmin(np.convolve(padded, kernel, mode="valid")))


def distance_from_rest(params: HeadParams) -> Array:
    """(T,) how far each frame is from rest; see `neutral_frame`."""
    expression = np.asarray(params.expression, np.float64)
    weights = _WEIGHTS if expression.shape[1] == len(_WEIGHTS) else np.ones(expression.shape[1])
    resting = np.quantile(expression, _RESTING_QUANTILE, axis=0)
    active = (np.maximum(expression - resting, 0.0) * weights).sum(axis=1)
    eyes = np.asarray(params.eyes).reshape(-1, 2, 3)
    angles = np.linalg.norm(params.rotation, axis=1) + np.linalg.norm(params.neck, axis=1)
    angles = angles + np.linalg.norm(params.jaw, axis=1) + 0.5 * np.linalg.norm(eyes, axis=2).mean(axis=1)
    return np.asarray(active + angles / _RADIANS_PER_UNIT)
