"""From head parameters to the coefficients that blend the tables.

The first coefficient is 1 and belongs to the neutral table. Then follow the expressions that moved in training, each
as its share of the range it covered there, and, by choice, the head's rotation and place, whose tables bend the neck
and turn the light. Everything is clamped to what training showed, in training and afterwards: a table outside its
range is noise.

Expressions are ARKit's, or, for a clip whose recording came with coefficients of another tracker, those: they say what
that tracker saw, without our fit between, and nobody but that tracker can give them for other pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import InputError
from ..scene import ARKIT_NAMES, Array, HeadParams

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
        recorded: expressions are `HeadParams.recorded` instead of ARKit's.
    """

    active: Array
    low: Array
    high: Array
    pose_low: Array
    pose_high: Array
    recorded: bool = False

    @staticmethod
    def of(params: HeadParams, pose_tables: bool) -> Conditioning:
        """The conditioning that a training sequence allows: by its recorded coefficients where it has any."""
        expression = params.expression if params.recorded is None else params.recorded
        low, high = expression.min(0), expression.max(0)
        pose = pose_of(params) if pose_tables else np.zeros((len(params), 0), np.float32)
        return Conditioning(
            np.flatnonzero(high - low >= MOVING).astype(np.int64), low.astype(np.float32), high.astype(np.float32),
            pose.min(0), pose.max(0), params.recorded is not None,
        )  # fmt: skip

    @property
    def tables(self) -> int:
        """How many tables are blended, the neutral one included."""
        return 1 + len(self.active) + len(self.pose_low)

    @property
    def expression_names(self) -> tuple[str, ...]:
        """(E,) what the expressions are called."""
        if not self.recorded and len(self.low) == len(ARKIT_NAMES):
            return ARKIT_NAMES
        return tuple(f"expression_{i}" for i in range(len(self.low)))

    @property
    def names(self) -> list[str]:
        """What each table answers to."""
        axes = ["rotation_x", "rotation_y", "rotation_z", "translation_x", "translation_y", "translation_z"]
        known = self.expression_names
        return ["neutral", *(known[i] for i in self.active), *axes[: len(self.pose_low)]]

    def expressions(self, params: HeadParams) -> Array:
        """(T, E) the expressions that these tables answer to.

        Raises:
            InputError: they are a recording's own coefficients, and the parameters have none.
        """
        if not self.recorded:
            return params.expression
        if params.recorded is None or params.recorded.shape[1] != len(self.low):
            had = "none" if params.recorded is None else f"{params.recorded.shape[1]} of another kind"
            raise InputError(
                f"This avatar answers to the {len(self.low)} coefficients of the tracker that its recording came from.",
                why=f"They have no ARKit names, and this motion has {had}.",
                fix="Drive it with a recording of the same tracker, or fit another avatar to ARKit's expressions.",
            )
        return params.recorded

    def clamped(self, params: HeadParams) -> Array:
        """(T, E) the expressions, held to the range that training covered.

        Raises:
            InputError: as of `expressions`.
        """
        return np.clip(self.expressions(params), self.low, self.high).astype(np.float32)

    def coefficients(self, params: HeadParams) -> Array:
        """(T, K) blending weights: 1, expressions in [0, 1], pose in [-1, 1].

        Raises:
            InputError: as of `expressions`.
        """
        low, high, middle, half = self._scales
        parts = [self.expressions(params)[:, self.active]]
        if len(self.pose_low):
            parts.append(pose_of(params))
        values = np.minimum(np.maximum(np.concatenate(parts, axis=1), low), high)
        told = np.ones((len(params), self.tables), np.float32)
        told[:, 1:] = (values - middle) / half
        return told

    @cached_property
    def _scales(self) -> tuple[Array, Array, Array, Array]:
        """(tables - 1,) what each coefficient is clamped to, then what is taken off it and it is divided by."""
        low, high = self.low[self.active], self.high[self.active]
        middle, half = (self.pose_high + self.pose_low) / 2, np.maximum((self.pose_high - self.pose_low) / 2, 1e-6)
        return (
            np.concatenate([low, self.pose_low]), np.concatenate([high, self.pose_high]),
            np.concatenate([low, middle]), np.concatenate([high - low, half]),
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """As JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("active", "low", "high", "pose_low", "pose_high")}
        return {**arrays, "recorded": self.recorded}

    @staticmethod
    def from_state(state: dict[str, Any]) -> Conditioning:
        """What `state` gave."""
        low, high, pose_low, pose_high = (
            np.asarray(state[name], np.float32) for name in ("low", "high", "pose_low", "pose_high")
        )
        active = np.asarray(state["active"], np.int64)
        return Conditioning(active, low, high, pose_low, pose_high, bool(state.get("recorded", False)))


def pose_of(params: HeadParams) -> Array:
    """(T, 6) rotation (radians) and translation (metres) of the skull."""
    return np.concatenate([params.rotation, params.translation], axis=1).astype(np.float32)
