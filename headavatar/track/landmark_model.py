"""Which of MediaPipe's 478 landmarks to trust, and which of their distances matter more than their places."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.track.habits import Habits
from headavatar.track.points import PointModel

LANDMARKS = 478
OUTER_EYE_CORNERS = (33, 263)
"""MediaPipe's outer corners of the right and the left eye; their distance is what errors are measured by."""

LID_PAIRS = (
    (159, 145), (158, 153), (160, 144), (157, 154), (161, 163),
    (386, 374), (385, 380), (387, 373), (384, 381), (388, 390),
)  # fmt: skip
"""Upper and lower lid, facing points."""

INNER_LIP_PAIRS = ((13, 14), (82, 87), (81, 178), (80, 88), (312, 317), (311, 402), (310, 318))
"""Upper and lower lip's inner edge, facing points."""

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The face's outline, which the network lets slide over the cheek as the head turns."""

IRISES = tuple(range(468, 478))

_UNCOLORED = 0.05


@dataclass(frozen=True)
class LandmarkModel:
    """The landmarks of a head and the trust in them.

    Attributes:
        surface: the L landmark points.
        weights: (L,) trust in each landmark.
        pairs: (P, 2) landmarks whose distance matters more than their place: lids and lips.
        pair_weight: trust in a pair's difference.
        habits: where the network sees the landmarks beside that, if that is to be allowed for; the surface's
            expressions have their share of it already.
        sameness: (L,) weights of the squares of one person's own offsets.
    """

    surface: PointModel
    weights: Tensor
    pairs: Tensor
    pair_weight: float = 4.0
    habits: Habits | None = None
    sameness: Tensor = field(default_factory=lambda: torch.ones(LANDMARKS))

    def faded(self, share: float) -> LandmarkModel:
        """The same with less trust in all that the picture's colors say better.

        Irises, and the gaps of lids and lips, have no colors of their own to go by and keep more.
        """
        weights = self.weights * share
        weights[list(IRISES)] = self.weights[list(IRISES)] * max(share, _UNCOLORED)
        return replace(self, weights=weights, pair_weight=self.pair_weight * max(share, _UNCOLORED))

    def seen_from(self, rotation: Tensor, translation: Tensor) -> Tensor:
        """(T or 1, L, 3) shift of the landmarks under poses (T, 3, 3) and (T, 3), by the network's habits."""
        if self.habits is None:
            return torch.zeros(1, *self.surface.template.shape)
        return self.habits.seen_from(rotation, translation)

    @staticmethod
    def of(head: HeadModel, habits: Habits | None = None) -> LandmarkModel:
        """The landmarks of a head model, as a network with these habits sees them."""
        surface, weights = PointModel.of(head, head.landmark_faces, head.landmark_bary), landmark_weights()
        pairs = torch.tensor(LID_PAIRS + INNER_LIP_PAIRS)
        if habits is None:
            return LandmarkModel(surface, weights, pairs)
        shifted = surface.expression_basis + habits.expression_basis(head.expression_names)
        surface = replace(surface, expression_basis=shifted)
        weights = habits.trust() * (weights.sum() / habits.trust().sum())
        return LandmarkModel(surface, weights, pairs, habits=habits, sameness=habits.sameness())


def landmark_weights() -> Tensor:
    """(478,) trust: the outline little, since it slides; lids, lips and irises more, since they carry meaning."""
    weights = torch.ones(LANDMARKS)
    weights[list(OVAL)] = 0.3
    weights[[i for pair in LID_PAIRS + INNER_LIP_PAIRS for i in pair]] = 2.0
    weights[list(IRISES)] = 2.0
    return weights
