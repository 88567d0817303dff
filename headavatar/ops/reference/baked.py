"""The baked shader in plain torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headavatar.ops.reference.raster import interpolate
from headavatar.ops.reference.texturing import sample_maps

if TYPE_CHECKING:
    from headavatar.ops.raster import Fragments
    from headavatar.ops.topology import Topology


def vertex_normals(points: Tensor, faces: Tensor) -> Tensor:
    """(V, 3) normals of the faces around each vertex, weighed by area, not normalized."""
    a, b, c = points[faces.long()].unbind(1)
    normals = torch.linalg.cross(b - a, c - a)
    return torch.zeros_like(points).index_add(0, faces.reshape(-1).long(), normals.repeat_interleave(3, 0))


def shade(
    fragments: Fragments, mesh: Topology, uv_faces: Tensor, uvs: Tensor, texels: Tensor, scales: Tensor,
    coefficients: Tensor, first_shading: int, points: Tensor | None, axes: Tensor | None, background: Tensor,
) -> Tensor:  # fmt: skip
    """(H, W, 4) color over the background, not clamped, and opacity; 0 where no face is.

    Args:
        texels: (S, S, 4, P) of RGB and opacity, with factors scales (P,).
        coefficients: (P,) of the maps before those of shading.
        first_shading: where those begin.
        points, axes: (V, 3) and (R, 3) of shading, or None.
    """
    seen = fragments.mask
    picture = torch.cat((background.to(uvs), uvs.new_zeros(1))).expand(*seen.shape, 4).clone()

    def shown(attributes: Tensor, faces: Tensor) -> Tensor:
        return interpolate(attributes[None], faces.long(), fragments.face_index[None], fragments.bary[None])[0][seen]

    maps = texels * scales
    values = sample_maps(maps.flatten(2), shown(uvs, uv_faces)).view(-1, 4, len(scales))
    factors = coefficients.expand(len(values), -1).clone()
    if points is not None and axes is not None:
        normals = torch.nn.functional.normalize(shown(vertex_normals(points, mesh.faces), mesh.faces), dim=1, eps=1e-20)
        factors[:, first_shading : first_shading + len(axes)] = normals @ axes.T
    colors, opacity = (values * factors[:, None]).sum(-1).split((3, 1), 1)
    opacity = opacity.clamp(0, 1)
    picture[seen] = torch.cat((colors * opacity + background * (1 - opacity), opacity), 1)
    return picture
