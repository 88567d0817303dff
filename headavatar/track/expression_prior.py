"""What is believed of expressions where pictures cannot tell: the side that a turned head hides, and shapes alike.

Colors hold a coefficient only where its skin is in sight, and some shapes of the mouth move skin almost alike. There
the network's scores would decide, and they are worst in profile. Faces are nearly symmetric, so the side that shows
speaks for the one that does not; and of shapes alike the least that explains the picture is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headavatar.track.landmark_fit import RIGID
from headavatar.track.normal import Normal

_SIDED = ("jaw", "mouth")
"""Of these the plain Left and Right are directions, not halves of one shape."""
_ALIKE = ("jaw", "mouth", "cheek")
"""Shapes around the mouth move skin alike; brows and eyes are told apart, and would only get smaller."""


class ExpressionPrior:
    """Adds beliefs about E expression coefficients to the normal equations of single frames.

    Args:
        names: (E,) of the coefficients, ARKit's.
    """

    def __init__(self, names: Sequence[str]) -> None:
        pairs = partners(names)
        self.one, self.other = RIGID + torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
        self.resting = torch.tensor([name.startswith(_ALIKE) for name in names]).double()

    def add(self, system: Normal, expression: Tensor, mirror: float, rest: float) -> None:
        """Add the beliefs, in place; what the system says of each coefficient before tells which side is in sight.

        Args:
            system: of T frames, each a pose's 6 unknowns, then E coefficients.
            expression: (T, E) present.
            mirror: weight of the squared difference of a coefficient from its partner's, where one of the two is told
                nothing of; it falls to 0 where both are told as much of.
            rest: weight of a coefficient's square, of those around the mouth.
        """
        if mirror:
            self._add_mirror(system, expression.double(), mirror)
        if rest:
            weight = rest * self.resting
            system.blocks.diagonal(dim1=1, dim2=2)[:, RIGID:] += weight
            system.gradient[:, RIGID:] += weight * expression.double()

    def _add_mirror(self, system: Normal, expression: Tensor, mirror: float) -> None:
        one, other, blocks = self.one, self.other, system.blocks
        told = blocks.diagonal(dim1=1, dim2=2)
        a, b = told[:, one], told[:, other]
        weight = mirror * (1 - torch.minimum(a, b) / torch.maximum(a, b).clamp(min=1e-12)).square()
        pull = weight * (expression[:, one - RIGID] - expression[:, other - RIGID])
        system.gradient[:, one] += pull
        system.gradient[:, other] -= pull
        for row, column, sign in ((one, one, 1), (other, other, 1), (one, other, -1), (other, one, -1)):
            blocks[:, row, column] += sign * weight


def partners(names: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of coefficients that move together: a shape and its mirror image, and both eyes' looking one way.

    Args:
        names: of the coefficients, ARKit's.
    """
    at = {name: k for k, name in enumerate(names)}
    pairs = []
    for name, k in at.items():
        if not name.endswith("Left") or name[:-4] in _SIDED:
            continue
        stem = {"eyeLookIn": "eyeLookOut", "eyeLookOut": "eyeLookIn"}.get(name[:-4], name[:-4])
        if (other := at.get(f"{stem}Right")) is not None:
            pairs.append((k, other))
    return pairs
