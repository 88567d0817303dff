"""Small pieces of the head's surface, by whose colors a head is aligned to pictures.

A few thousand points stand for the surface: their colors are what the training frames agree on, and a frame is right
where the picture shows those colors under the projected points. So all frames of a clip can be refined at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.track.points import PointModel

UNSEEN_REGIONS = ("mouth_interior", "teeth", "tongue", "lashes", "eyes", "neck")
"""Parts whose look says nothing of the head's pose: inside the mouth, moving by themselves, or below clothes."""


@dataclass(frozen=True)
class Surfels:
    """N points on the outer surface of one person's head.

    Attributes:
        surface: the points as functions of the expression; the identity is already in `shape`.
        shape: (N, 3) at rest, head space, metres.
        normals: (N, 3) at rest, head space, unit length, outward.
        rigidity: (N,) in [0, 1], how little a point's look depends on the expression.
    """

    surface: PointModel
    shape: Tensor
    normals: Tensor
    rigidity: Tensor

    @staticmethod
    def scatter(head: HeadModel, identity: Tensor, count: int, seed: int) -> Surfels:
        """Spread points evenly over the outer surface of a person's head.

        Args:
            head: the head model.
            identity: (S,).
            count: number of points.
            seed: of the places within the triangles.
        """
        with torch.no_grad():
            vertices = head.vertices(identity, torch.zeros(1, len(head.expression_names)))[0]
        inner = torch.zeros(head.vertex_count, dtype=torch.bool)
        for region in UNSEEN_REGIONS:
            if region in head.regions:
                inner |= head.regions[region]
        faces = torch.nonzero(~inner[head.faces].any(1))[:, 0]
        corners = vertices[head.faces[faces]]
        cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = cross.norm(dim=1) / 2
        generator = torch.Generator().manual_seed(seed)
        ladder = (torch.arange(count) + torch.rand(1, generator=generator)) / count
        picked = torch.searchsorted(torch.cumsum(area, 0) / area.sum(), ladder).clamp(max=len(faces) - 1)
        u, v = torch.rand(2, count, generator=generator)
        flip = u + v > 1
        u, v = torch.where(flip, 1 - u, u), torch.where(flip, 1 - v, v)
        barycentric = torch.stack([1 - u - v, u, v], 1)
        surface = PointModel.of(head, faces[picked], barycentric)
        motion = surface.expression_basis.norm(dim=2).amax(0)
        normals = torch.nn.functional.normalize(cross[picked], dim=1)
        return Surfels(surface, surface.shape(identity), normals, torch.exp(-((motion / 0.012) ** 2)))

    def __len__(self) -> int:
        return len(self.shape)
