"""How thick hair stands on the scalp: one smooth height, so that what no camera saw grows with what they did."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ops
from ...head import HeadModel
from .smoothing import Smoother

REACH = 400.0
"""Weight of the heights' smoothing: an outline raises hair about sqrt(400) = 20 edges to either side of it."""
_NORMALS, _BORDER = 30.0, 4.0
"""Weights of the smoothing of normals, so that hair keeps off ears and folds, and of the scalp's border."""


class HairVolume:
    """Offsets of the scalp along its normals: height = (I + λL)⁻¹ latent with a λ so large that few pictures shape it.

    Vectors that are smoothed alone carry an outline's motion to its neighbors in the same direction: what pulls both
    sides of the head outwards moves its back not at all. Heights along normals raise the back as high as the sides.

    Args:
        latent: (V, 1) meters.
        ways: (V, 3) unit normals, smoothed, times how much of a vertex is scalp.
        smoother: of the heights.
    Source: the smoothing of Nicolet et al. 2021 on heights; ours.
    """

    def __init__(self, latent: Tensor, ways: Tensor, smoother: Smoother) -> None:
        self.latent, self.ways, self.smoother = latent, ways, smoother

    @staticmethod
    def fresh(head: HeadModel, rest: Tensor, movable: Tensor) -> HairVolume:
        """No hair.

        Args:
            head: subdivided.
            rest: (V, 3) its vertices at rest with the person's identity, meters.
            movable: (V, 1) in [0, 1].
        """
        none = torch.zeros(head.vertex_count, dtype=torch.bool)
        regions = (head.regions.get(name, none).to(rest.device) for name in ("scalp", "neck", "ears"))
        scalp, neck, ears = regions

        def smoothed(values: Tensor, weight: float) -> Tensor:
            return Smoother(head.faces, head.vertex_count, weight).solve(values)

        normals = smoothed(ops.vertex_normals(rest, head.faces), _NORMALS)
        normals = torch.nn.functional.normalize(normals, dim=1, eps=1e-9)
        share = smoothed((scalp & ~neck & ~ears)[:, None].to(rest), _BORDER) * movable
        latent = rest.new_zeros(head.vertex_count, 1)
        return HairVolume(latent, normals * share, Smoother(head.faces, head.vertex_count, REACH))

    def __call__(self) -> Tensor:
        """(V, 3) offsets at rest, head space, meters."""
        return self.smoother.solve(self.latent) * self.ways
