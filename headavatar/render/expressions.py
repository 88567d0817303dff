"""The names by which an avatar's expression is set, and what training showed of each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headavatar.errors import UsageError
from headavatar.methods.base import Avatar
from headavatar.scene import ARKIT_NAMES, Array, HeadParams

MOVING = 0.02
"""An expression that moved less than this in training has no effect."""


@dataclass(frozen=True)
class Handles:
    """What an avatar's expression can be set by.

    Attributes:
        names: E of them: ARKit's, or those of the coefficients that a recording came with.
        low, high: (E,) the range that training showed; an avatar keeps to it.
    """

    names: Sequence[str]
    low: Array
    high: Array

    @staticmethod
    def of(avatar: Avatar) -> Handles:
        """Those of an avatar."""
        low, high = avatar.expression_range
        return Handles(getattr(avatar, "expression_names", ARKIT_NAMES), np.asarray(low), np.asarray(high))

    @property
    def arkit(self) -> bool:
        """Whether the names are ARKit's and the values in [0, 1]."""
        return tuple(self.names) == ARKIT_NAMES

    @property
    def moving(self) -> list[int]:
        """Positions of the expressions that have an effect."""
        return np.flatnonzero(self.high - self.low >= MOVING).tolist()

    def parse(self, text: str) -> dict[str, float]:
        """Read "jawOpen=0.6,browInnerUp=1".

        Raises:
            UsageError: a name does not exist, or a value is no number, or for ARKit's names not in [0, 1].
        """
        values: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, number = part.partition("=")
            name = name.strip()
            try:
                value = float(number)
            except ValueError:
                value = float("nan")
            self.check(name, value)
            values[name] = value
        return values

    def check(self, name: str, value: float) -> None:
        """Refuse what cannot be set.

        Raises:
            UsageError: the name does not exist, or the value is no number, or for ARKit's names not in [0, 1].
        """
        if name not in self.names:
            near = self._near(name)
            raise UsageError(
                f"There is no expression called {name!r}.",
                why="Expressions have ARKit's 52 names." if self.arkit else f"It knows {', '.join(self.names)}.",
                fix=f"Did you mean {' or '.join(near)}?" if near else f"For example {self.names[-2]}=0.6.",
            )
        if not np.isfinite(value) or (self.arkit and not 0.0 <= value <= 1.0):
            raise UsageError(
                f"{name} is given no number{' between 0 and 1' if self.arkit else ''}.", why=f"{name} needs one.",
                fix=f"For example {name}=0.6.",
            )  # fmt: skip

    def beyond(self, values: Mapping[str, float]) -> list[str]:
        """What training never showed of the values asked for, in words."""
        said = []
        for name, value in values.items():
            i = list(self.names).index(name)
            low, high = float(self.low[i]), float(self.high[i])
            if high - low < MOVING:
                said.append(f"{name} hardly moved in training: it has no effect on this avatar.")
            elif not low - 0.005 <= value <= high + 0.005:
                drawn = min(max(value, low), high)
                said.append(
                    f"{name}={value:g} is outside what training showed ({low:.2f} to {high:.2f}): drawn as {drawn:.2f}."
                )
        return said

    def put(self, params: HeadParams, values: Mapping[str, float]) -> HeadParams:
        """The frames with some expressions replaced."""
        current = params.expression if self.arkit or params.recorded is None else params.recorded
        changed = np.array(current, np.float32, copy=True)
        for name, value in values.items():
            changed[:, list(self.names).index(name)] = value
        return replace(params, **{"expression" if current is params.expression else "recorded": changed})

    def values(self, params: HeadParams) -> Array:
        """(T, E) the expressions of frames by these names."""
        return params.expression if self.arkit or params.recorded is None else params.recorded

    def _near(self, name: str) -> list[str]:
        known = {other.lower(): other for other in self.names}
        holding = [other for lower, other in known.items() if len(name) > 2 and name.lower() in lower]
        alike = [known[lower] for lower in difflib.get_close_matches(name.lower(), known, n=3)]
        return list(dict.fromkeys([*alike, *holding]))[:3]
