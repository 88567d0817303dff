"""Which of MediaPipe's 478 landmarks to trust, and which of their distances matter more than their places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headavatar.head import HeadModel
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
    """

    surface: PointModel
    weights: Tensor
    pairs: Tensor
    pair_weight: float = 4.0

    def faded(self, share: float) -> LandmarkModel:
        """The same with less trust in all that the picture's colors say better.

        Irises, and the gaps of lids and lips, have no colors of their own to go by and keep more.
        """
        weights = self.weights * share
        weights[list(IRISES)] = self.weights[list(IRISES)] * max(share, _UNCOLORED)
        return replace(self, weights=weights, pair_weight=self.pair_weight * max(share, _UNCOLORED))

    @staticmethod
    def of(head: HeadModel) -> LandmarkModel:
        """The landmarks of a head model."""
        return LandmarkModel(
            PointModel.of(head, head.landmark_faces, head.landmark_bary), landmark_weights(),
            torch.tensor(LID_PAIRS + INNER_LIP_PAIRS),
        )  # fmt: skip


def landmark_weights() -> Tensor:
    """(478,) trust: the outline little, since it slides; lids, lips and irises more, since they carry meaning."""
    weights = torch.ones(LANDMARKS)
    weights[list(OVAL)] = 0.3
    weights[[i for pair in LID_PAIRS + INNER_LIP_PAIRS for i in pair]] = 2.0
    weights[list(IRISES)] = 2.0
    return weights
