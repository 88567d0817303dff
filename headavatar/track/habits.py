"""What the landmark network does alike with everybody.

Its points slide over the skin as a head turns, stop short of strong expressions, and lie a little beside the places
that the embedding gives them. Rendered heads of which all is known say by how much (tests/landmark_habits.py measures
it), and most of it holds for filmed people too. What one person's points do besides is for the track to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headavatar.workspace import atomic

FILE = Path(__file__).with_name("landmark_habits.npz")
_MM = 1e-3
_ARRAYS = ("place", "by_view", "by_expression", "spread", "own")


@dataclass(frozen=True)
class Habits:
    """Where the network sees L landmarks beside where the head has them, head space, metres.

    Attributes:
        place: (L, 3) of every head.
        by_view: (2, L, 3) change with x and y of the unit vector from the head to the camera, head space.
        by_expression: (E, L, 3) change with each coefficient; none with the eyes', and none of lids and irises.
        names: the E coefficients.
        spread: (L,) root mean square of what is left, one person's own constant part aside.
        own: (L,) root mean square of that constant part, along one axis.
    """

    place: Tensor
    by_view: Tensor
    by_expression: Tensor
    names: tuple[str, ...]
    spread: Tensor
    own: Tensor

    @staticmethod
    def load(file: Path = FILE) -> Habits:
        """Those that were measured."""
        with np.load(file, allow_pickle=False) as stored:
            place, by_view, by_expression, spread, own = (
                torch.from_numpy(stored[key].astype(np.float32)) * _MM for key in _ARRAYS
            )
            return Habits(place, by_view, by_expression, tuple(stored["names"].tolist()), spread, own)

    def save(self, file: Path) -> None:
        """Write what `load` reads, as millimetres in half precision."""
        halves = {key: (getattr(self, key).numpy() / _MM).astype(np.float16) for key in _ARRAYS}
        atomic.write_npz(file, {"names": np.array(self.names), **halves})

    def seen_from(self, rotation: Tensor, translation: Tensor) -> Tensor:
        """(T, L, 3) shift of the landmarks of heads at rest, which (T, 3, 3) and (T, 3) take to the camera's world."""
        to_camera = torch.nn.functional.normalize(-(translation[:, None] @ rotation)[:, 0], dim=1)
        return self.place + torch.einsum("tv,vlc->tlc", to_camera[:, :2], self.by_view)

    def expression_basis(self, names: Sequence[str]) -> Tensor:
        """(E, L, 3) shift with each of the coefficients of a head model."""
        basis = torch.zeros(len(names), *self.place.shape)
        for row, name in enumerate(names):
            if name in self.names:
                basis[row] = self.by_expression[self.names.index(name)]
        return basis

    def trust(self) -> Tensor:
        """(L,) weights by how little is left, 1 for the landmark in the middle."""
        return (self.spread.median() / self.spread).square()

    def sameness(self) -> Tensor:
        """(L,) weights by how little persons differ, 1 for the landmark in the middle."""
        return (self.own.median() / self.own).square()
