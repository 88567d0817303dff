"""What a made-up person does before the camera: speaks, pulls faces, blinks, looks around and turns the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from headavatar.scene import ARKIT_NAMES, Array

VISEMES: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.6, "mouthLowerDown": 0.3, "mouthUpperUp": 0.15},  # a
    {"jawOpen": 0.3, "mouthStretch": 0.35, "mouthLowerDown": 0.35, "mouthUpperUp": 0.2},  # e
    {"jawOpen": 0.12, "mouthSmile": 0.3, "mouthStretch": 0.4, "mouthDimple": 0.25},  # i
    {"jawOpen": 0.35, "mouthFunnel": 0.7},  # o
    {"jawOpen": 0.15, "mouthPucker": 0.75, "mouthFunnel": 0.2},  # u
    {"jawOpen": 0.08, "mouthClose": 0.07, "mouthPress": 0.5, "mouthRollLower": 0.2, "mouthRollUpper": 0.15},  # m, b, p
    {"jawOpen": 0.12, "mouthRollLower": 0.55, "mouthUpperUp": 0.25},  # f, v
    {"jawOpen": 0.15, "mouthLowerDown": 0.4, "mouthShrugUpper": 0.2},  # s, t
    {"jawOpen": 0.2, "mouthFunnel": 0.45, "mouthShrugLower": 0.3},  # sh
    {"jawOpen": 0.25, "jawForward": 0.25},  # k, g
    {},
)
"""Coefficients of a sound; names without Left and Right move both sides."""

FACES: tuple[dict[str, float], ...] = (
    {"mouthSmile": 0.85, "cheekSquint": 0.6, "eyeSquint": 0.35, "mouthDimple": 0.3},
    {"mouthSmile": 0.6, "jawOpen": 0.5, "mouthUpperUp": 0.5, "cheekSquint": 0.4},
    {"mouthFrown": 0.8, "browInnerUp": 0.6, "mouthShrugLower": 0.5},
    {"browDown": 0.85, "noseSneer": 0.7, "mouthUpperUp": 0.45, "eyeSquint": 0.4},
    {"browInnerUp": 0.9, "browOuterUp": 0.85, "eyeWide": 0.7, "jawOpen": 0.55},
    {"mouthPucker": 0.85, "browDown": 0.3},
    {"cheekPuff": 0.8, "mouthPress": 0.3},
    {"mouthLeft": 0.7, "mouthSmileLeft": 0.3},
    {"mouthRight": 0.7, "mouthSmileRight": 0.3},
    {"jawLeft": 0.7, "jawOpen": 0.2},
    {"jawRight": 0.7, "jawOpen": 0.2},
    {"mouthRollLower": 0.6, "mouthRollUpper": 0.5, "mouthPress": 0.3},
    {"jawOpen": 0.95, "browOuterUp": 0.5, "mouthLowerDown": 0.3},
    {"mouthSmileLeft": 0.75, "browOuterUpLeft": 0.8, "browDownRight": 0.5, "cheekSquintLeft": 0.4},
    {"mouthSmileRight": 0.75, "browOuterUpRight": 0.8, "browDownLeft": 0.5, "cheekSquintRight": 0.4},
    {"jawForward": 0.6, "mouthShrugLower": 0.6, "mouthShrugUpper": 0.3},
)

YAW_DEG, PITCH_DEG, ROLL_DEG = 45.0, 18.0, 12.0


@dataclass(frozen=True)
class Performance:
    """T frames: expression (T, 52), head's rotation (T, 3) axis-angle, and sway (T, 3) of the neck's foot, metres."""

    expression: Array
    rotation: Array
    sway: Array

    def __len__(self) -> int:
        return len(self.rotation)


def perform(frames: int, fps: float, rng: np.random.Generator) -> Performance:
    """Make up a performance.

    Args:
        frames: T.
        fps: frames per second.
        rng: of everything.
    """
    angles = _head(frames, fps, rng)
    expression = np.zeros((frames, len(ARKIT_NAMES)))
    _spread(expression, VISEMES, fps, 0.13, 0.045, 0.55, rng)
    mimic = np.zeros_like(expression)
    _spread(mimic, FACES, fps, 0.9, 0.12, 0.45, rng)
    expression = 1 - (1 - expression) * (1 - mimic)
    brow = np.clip(_wander(frames, fps, 0.8, rng), 0, None) * 0.35
    for name in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"):
        expression[:, ARKIT_NAMES.index(name)] += brow
    # no face is symmetric: a slow imbalance between left and right
    for k, name in enumerate(ARKIT_NAMES):
        if name.endswith("Left") and not name.startswith(("eye", "jaw")) and name != "mouthLeft":
            tilt = 0.12 * _wander(frames, fps, 0.6, rng)
            expression[:, k] *= 1 + tilt
            expression[:, ARKIT_NAMES.index(name[:-4] + "Right")] *= 1 - tilt
    close, jaw = ARKIT_NAMES.index("mouthClose"), ARKIT_NAMES.index("jawOpen")
    expression = np.clip(expression, 0, 1)
    expression[:, close] = np.minimum(expression[:, close], 0.9 * expression[:, jaw])
    _look(expression, np.degrees(angles[:, 1]), fps, rng)
    _blink(expression, fps, rng)
    sway = np.stack([_wander(frames, fps, 1.5, rng) * scale for scale in (0.012, 0.006, 0.015)], 1)
    return Performance(
        np.clip(expression, 0, 1).astype(np.float32), _axis_angles(angles).astype(np.float32), sway.astype(np.float32)
    )


def _head(frames: int, fps: float, rng: np.random.Generator) -> Array:
    """(T, 3) pitch, yaw, roll in radians: moves between targets, both profiles among them, over a slight tremor."""
    targets = [np.zeros(3)]
    extremes = [np.array([0, sign * YAW_DEG, 0]) for sign in (1, -1)] + [
        np.array([s * PITCH_DEG, 0, 0]) for s in (1, -1)
    ]
    count = max(int(frames / fps / 0.85), 5)
    spots = set(np.round(np.linspace(1, count - 1, len(extremes))).astype(int))
    pool = [extremes[i] for i in rng.permutation(len(extremes))]
    for i in range(1, count):
        mild = rng.uniform(-1, 1, 3) * np.array([0.6 * PITCH_DEG, 0.5 * YAW_DEG, ROLL_DEG])
        targets.append(pool.pop() + 0.25 * mild * [1, 0, 1] if i in spots and pool else mild)
    path, now = np.zeros((frames, 3)), 0.0
    turns = np.abs(np.diff(targets, axis=0)).max(1)
    hold = rng.uniform(0.05, 0.35, len(turns))
    move = rng.uniform(0.3, 0.55, len(turns)) + turns / 120
    fit = min(1.0, frames / fps / (hold + move).sum())  # all targets are reached before the clip ends
    for step, wait, length in zip(np.diff(targets, axis=0), fit * hold, fit * move, strict=True):
        t = np.clip((np.arange(frames) / fps - now - wait) / length, 0, 1)[:, None]
        path += step * (10 * t**3 - 15 * t**4 + 6 * t**5)
        now += wait + length
    nod = np.stack([_wander(frames, fps, 0.35, rng) for _ in range(3)], 1) * np.array([1.2, 1.2, 0.8])
    return np.radians(np.clip(path + nod, [-22, -YAW_DEG - 1, -18], [22, YAW_DEG + 1, 18]))


def _axis_angles(angles: Array) -> Array:
    """Axis-angle of pitch, yaw, roll: rolled first, then nodded, then turned."""
    from headavatar.head.rotations import axis_angle_to_matrix_np, matrix_to_axis_angle_np

    pitch, yaw, roll = (axis_angle_to_matrix_np(angles * np.eye(3)[k]) for k in range(3))
    return matrix_to_axis_angle_np(yaw @ pitch @ roll)


def _spread(
    expression: Array, shapes: tuple[dict[str, float], ...], fps: float, length_s: float, soften_s: float,
    share: float, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Play shapes one after the other, `share` of the time, and soften them into each other."""
    frames = len(expression)
    now, order = 0.0, []
    while now < frames / fps:
        if not order:
            order = list(rng.permutation(len(shapes)))
        length = length_s * rng.uniform(0.6, 1.6)
        if rng.random() < share + 0.2:
            shape, strength = shapes[order.pop()], rng.uniform(0.6, 1.15)
            first, last = int(now * fps), int((now + length) * fps) + 1
            for name, value in shape.items():
                for full in (name, name + "Left", name + "Right"):
                    if full in ARKIT_NAMES and not (full != name and name in ARKIT_NAMES):
                        k = ARKIT_NAMES.index(full)
                        expression[first:last, k] = np.maximum(expression[first:last, k], value * strength)
        now += length if rng.random() > 0.06 else length + rng.uniform(0.2, 0.5)
    expression[:] = gaussian_filter1d(expression, soften_s * fps, axis=0, mode="nearest")


def _look(expression: Array, yaw_deg: Array, fps: float, rng: np.random.Generator) -> None:
    """Saccades between fixations; half of them hold on to the camera while the head turns."""
    frames = len(expression)
    side, height, now = np.zeros(frames), np.zeros(frames), 0
    while now < frames:
        last = now + int(fps * rng.uniform(0.3, 1.1)) + 1
        at_camera = rng.random() < 0.5
        side[now:last] = -yaw_deg[now:last] * 0.7 if at_camera else rng.uniform(-26, 26)
        height[now:last] = rng.uniform(-4, 4) if at_camera else rng.uniform(-18, 18)
        now = last
    side, height = (gaussian_filter1d(np.clip(a, -30, 30), 0.02 * fps, mode="nearest") for a in (side, height))
    # to the subject's left is out for the left eye and in for the right
    ways = {
        "Out": (side / 35, -side / 35),
        "In": (-side / 35, side / 35),
        "Up": (height / 25,) * 2,
        "Down": (-height / 30,) * 2,
    }
    for way, values in ways.items():
        for eye, value in zip(("Left", "Right"), values, strict=True):
            expression[:, ARKIT_NAMES.index(f"eyeLook{way}{eye}")] = np.clip(value, 0, 1)


def _blink(expression: Array, fps: float, rng: np.random.Generator) -> None:
    """Lids fall in a tenth of a second and rise in two; looking down lowers them."""
    times = np.arange(len(expression)) / fps
    lids, now = np.zeros(len(expression)), rng.uniform(0.3, 1.5)
    while now < times[-1]:
        t = times - now
        lids = np.maximum(lids, np.clip(np.minimum((t + 0.12) / 0.09, (0.26 - t) / 0.2), 0, 1))
        now += rng.uniform(0.8, 3.0)
    for eye in ("Left", "Right"):
        down = expression[:, ARKIT_NAMES.index(f"eyeLookDown{eye}")]
        k = ARKIT_NAMES.index(f"eyeBlink{eye}")
        expression[:, k] = np.clip(np.maximum(lids, 0.35 * down), 0, 1)
        for name in ("eyeWide", "eyeSquint"):
            expression[:, ARKIT_NAMES.index(name + eye)] *= 1 - expression[:, k]


def _wander(frames: int, fps: float, period_s: float, rng: np.random.Generator) -> Array:
    """(T,) smooth noise of unit deviation."""
    width = period_s * fps / 2
    noise = gaussian_filter1d(rng.normal(size=frames + int(8 * period_s * fps)), width, mode="wrap")
    # The deviation that such noise has on average: a short piece's own may be almost nothing.
    return np.asarray(noise[len(noise) - frames :] * (2 * np.sqrt(np.pi) * width) ** 0.5)
