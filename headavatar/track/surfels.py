"""Small pieces of the head's surface, with the views from which each is seen, that poses are sharpened by.

A few thousand points replace the raster: their colors are what the training frames agree on, and a frame's pose is
right where the picture shows those colors under the projected points. So all frames of a clip can be refined at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.ops.raster import rasterize
from headavatar.track.points import PointModel

UNSEEN_REGIONS = ("mouth_interior", "teeth", "tongue", "lashes", "eyes", "neck")
"""Parts whose look says nothing of the head's pose: inside the mouth, moving by themselves, or below clothes."""

_BIN_DEG = 6.0
_RASTER = 160
_SLACK_M = 0.006


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


def view_angles(rotation: Tensor, translation: Tensor) -> Tensor:
    """(T, 2) azimuth and elevation of the camera as the head sees it, degrees."""
    toward = torch.einsum("tji,tj->ti", rotation, -translation)
    azimuth = torch.atan2(toward[:, 0], toward[:, 2])
    elevation = torch.atan2(toward[:, 1], toward[:, [0, 2]].norm(dim=1))
    return torch.rad2deg(torch.stack([azimuth, elevation], 1))


def seen_by_view(
    surfels: Surfels, vertices: Tensor, faces: Tensor, rotation: Tensor, translation: Tensor
) -> tuple[Tensor, Tensor]:
    """Which points the head itself does not hide, for every frame's view, by rastering each distinct view once.

    Args:
        surfels: N points.
        vertices: (V, 3) the person's head at rest, head space.
        faces: (F, 3) all its triangles.
        rotation, translation: (T, 3, 3) and (T, 3) head to world.
    Returns:
        seen (views, N) float of 0 and 1, and the view of each frame (T,).
    """
    angles = torch.round(view_angles(rotation, translation) / _BIN_DEG)
    views, of_frame = torch.unique(angles, dim=0, return_inverse=True)
    distance = float(translation.norm(dim=1).median())
    radius = float(vertices.norm(dim=1).max())
    focal = 0.48 * _RASTER * (distance - radius) / radius
    seen = []
    for azimuth, elevation in np.radians(views.numpy() * _BIN_DEG):
        ca, sa, ce, se = np.cos(azimuth), np.sin(azimuth), np.cos(elevation), np.sin(elevation)
        # rows: right, up and toward the camera, in head space
        frame = torch.tensor([[ca, 0, -sa], [-se * sa, ce, -se * ca], [ce * sa, se, ce * ca]], dtype=torch.float32)

        def to_pixels(points: Tensor, frame: Tensor = frame) -> Tensor:
            local = points @ frame.T
            depth = distance - local[:, 2]
            x = focal * local[:, 0] / depth + _RASTER / 2
            return torch.stack([x, _RASTER / 2 - focal * local[:, 1] / depth, depth], 1)

        depth = rasterize(to_pixels(vertices), faces, _RASTER, _RASTER).depth
        pixels = to_pixels(surfels.shape)
        column, row = pixels[:, :2].long().clamp(0, _RASTER - 1).T
        front = depth[row, column]
        seen.append(((pixels[:, 2] < front + _SLACK_M) | (front <= 0)).float())
    return torch.stack(seen), of_frame
