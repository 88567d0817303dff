"""From head parameters to the coefficients that blend the tables.

The first coefficient is 1 and belongs to the neutral table. Then follow the expressions that moved in training, each
as its share of the range it covered there, and, by choice, the head's rotation and place, whose tables bend the neck
and turn the light. Everything is clamped to what training showed, in training and afterwards: a table outside its
range is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...scene import ARKIT_NAMES, Array, HeadParams

MOVING = 0.02
"""An expression whose range in training is below this has no table; its name stays a handle without effect."""


@dataclass(frozen=True)
class Conditioning:
    """Which parameters have tables, and the ranges that training covered.

    Attributes:
        active: (A,) indices of the expressions that have a table.
        low, high: (E,) range of every expression in training.
        pose_low, pose_high: (6,) range of rotation (radians) and translation (metres) in training; empty where pose
            has no tables.
    """

    active: Array
    low: Array
    high: Array
    pose_low: Array
    pose_high: Array

    @staticmethod
    def of(params: HeadParams, pose_tables: bool) -> Conditioning:
        """The conditioning that a training sequence allows."""
        low, high = params.expression.min(0), params.expression.max(0)
        pose = _pose(params) if pose_tables else np.zeros((len(params), 0), np.float32)
        return Conditioning(
            np.flatnonzero(high - low >= MOVING).astype(np.int64), low.astype(np.float32), high.astype(np.float32),
            pose.min(0), pose.max(0),
        )  # fmt: skip

    @property
    def tables(self) -> int:
        """How many tables are blended, the neutral one included."""
        return 1 + len(self.active) + len(self.pose_low)

    @property
    def names(self) -> list[str]:
        """What each table answers to."""
        axes = ["rotation_x", "rotation_y", "rotation_z", "translation_x", "translation_y", "translation_z"]
        known = ARKIT_NAMES if len(self.low) == len(ARKIT_NAMES) else [f"expression_{i}" for i in range(len(self.low))]
        return ["neutral", *(known[i] for i in self.active), *axes[: len(self.pose_low)]]

    def coefficients(self, params: HeadParams) -> Array:
        """(T, K) blending weights: 1, expressions in [0, 1], pose in [-1, 1]."""
        clamped = np.clip(params.expression, self.low, self.high)[:, self.active]
        span = (self.high - self.low)[self.active]
        parts = [np.ones((len(params), 1), np.float32), (clamped - self.low[self.active]) / span]
        if len(self.pose_low):
            middle, half = (self.pose_high + self.pose_low) / 2, np.maximum((self.pose_high - self.pose_low) / 2, 1e-6)
            parts.append((np.clip(_pose(params), self.pose_low, self.pose_high) - middle) / half)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def state(self) -> dict[str, list[float] | list[int]]:
        """As JSON."""
        return {name: getattr(self, name).tolist() for name in ("active", "low", "high", "pose_low", "pose_high")}

    @staticmethod
    def from_state(state: dict[str, list[float]]) -> Conditioning:
        """What `state` gave."""
        floats = [np.asarray(state[name], np.float32) for name in ("low", "high", "pose_low", "pose_high")]
        return Conditioning(np.asarray(state["active"], np.int64), *floats)


def _pose(params: HeadParams) -> Array:
    return np.concatenate([params.rotation, params.translation], axis=1).astype(np.float32)
