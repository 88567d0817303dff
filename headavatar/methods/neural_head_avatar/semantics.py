"""Regions of the head against the picture's: hair by the parsing, openings of eyes and mouth by their landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ... import ops
from ...head import HeadModel
from ...head.landmarks import EYE_LEFT, EYE_RIGHT, LIPS_INNER
from ...scene import PARSING_CLASSES, Array
from .drawing import Layout, Seen
from .smoothing import Smoother

REGIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("hair", ("scalp", "curtain")), ("eyes", ("eyes",)), ("mouth", ("mouth_interior", "teeth", "tongue")),
)  # fmt: skip
"""What is compared, and the regions of the head that show it; a class of the parsing for ears does not exist."""
UNKNOWN = 255
_SOFT = 0.5
_BLUR = 5
"""Edge of the box that both are blurred with, twice, pixels: as far as a border is felt."""


def labels(parsing: Array, landmarks: Array) -> Array:
    """What each pixel is.

    Args:
        parsing: (H, W) uint8 of `PARSING_CLASSES`.
        landmarks: (478, 2) pixels; not finite where there is no face.
    Returns:
        (H, W) uint8: 0, or 1 + the row of `REGIONS`; `UNKNOWN` where something covers the head.
    """
    found = np.zeros(parsing.shape, np.uint8)
    found[parsing == PARSING_CLASSES.index("hair")] = 1
    found[parsing == PARSING_CLASSES.index("other")] = UNKNOWN
    if np.isfinite(landmarks).all():
        for value, ring in ((2, EYE_RIGHT), (2, EYE_LEFT), (3, LIPS_INNER)):
            # four bits behind the point: pixel centers of OpenCV lie at whole numbers
            points = np.round((landmarks[list(ring)] - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(found, [points], value, shift=4)
    return found


@dataclass(frozen=True)
class Semantics:
    """The head's own regions, ready to be drawn.

    Attributes:
        shares: (V, R) how much of a vertex is each region: soft across borders, so that these carry gradients where
            no outline does.
    """

    shares: Tensor

    @staticmethod
    def of(head: HeadModel) -> Semantics:
        """Of a subdivided head."""
        none = torch.zeros(head.vertex_count, dtype=torch.bool)
        columns = []
        for _, names in REGIONS:
            column = torch.stack([head.regions.get(name, none).cpu() for name in names]).any(0)
            columns.append(column.float())
        shares = torch.stack(columns, 1).to(head.template.device)
        hair = Smoother(head.faces, head.vertex_count, _SOFT).solve(shares[:, :1])
        return Semantics(torch.cat([hair, shares[:, 1:]], 1))

    def distance(self, layout: Layout, seen: Seen, wanted: Tensor, counted: Tensor) -> Tensor:
        """(R,) mean absolute difference of each region as drawn and as labelled, both blurred.

        Args:
            layout: what is drawn.
            seen: B pictures.
            wanted: (B, H, W) uint8 of `labels`.
            counted: (B, H, W) in {0, 1}.
        Source: Grassal et al. 2022, section 3.4, the semantic terms; there masks of holes and unions.
        """
        drawn = seen.antialiased(ops.interpolate(self.shares, layout.faces, seen.fragments))
        known = (counted * (wanted != UNKNOWN))[..., None]
        values = torch.arange(1, len(REGIONS) + 1, device=wanted.device)
        truth = (wanted[..., None] == values).float()
        difference = ((drawn - truth) * known).permute(0, 3, 1, 2)
        for _ in range(2):
            difference = avg_pool2d(difference, _BLUR, 1, _BLUR // 2)
        return difference.abs().sum((0, 2, 3)) / known.sum().clamp_min(1)
