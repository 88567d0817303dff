"""The baked shader in plain torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headavatar.ops.normals import vertex_normals
from headavatar.ops.reference.raster import interpolate
from headavatar.ops.reference.texturing import sample_maps

if TYPE_CHECKING:
    from headavatar.ops.baked import BakedMaps
    from headavatar.ops.raster import Fragments
    from headavatar.ops.topology import Topology


def shade(
    fragments: Fragments, mesh: Topology, uv_faces: Tensor, uvs: Tensor, maps: BakedMaps, factors: Tensor,
    points: Tensor | None, axes: Tensor | None, background: Tensor, cover: Tensor | None, covered: float,
) -> Tensor:  # fmt: skip
    """(H, W, 4) color over the background, not clamped, and opacity; 0 where no face is.

    Args:
        factors: (P,) what a frame multiplies the texels of the maps with.
        points, axes: (V, 3) and (R, 3) of shading, or None.
        cover: (V, 4) or None; with points only.
        covered: cosines from where it begins to where it shows alone.
    """
    seen = fragments.mask
    picture = torch.cat((background.to(uvs), uvs.new_zeros(1))).expand(*seen.shape, 4).clone()

    def shown(attributes: Tensor, faces: Tensor) -> Tensor:
        return interpolate(attributes[None], faces.long(), fragments.face_index[None], fragments.bary[None])[0][seen]

    places = shown(uvs, uv_faces)
    change = (maps.texels * factors).sum(-1).permute(2, 0, 1)[None]
    fine = torch.nn.functional.interpolate(change, size=maps.base.shape[:2], mode="bilinear")[0].permute(1, 2, 0)
    colors = sample_maps(maps.base + fine, places)
    directions = None if points is None else vertex_normals(points, mesh.faces)
    if directions is not None and axes is not None:
        normals = torch.nn.functional.normalize(shown(directions, mesh.faces), dim=1, eps=1e-20)
        lit = sample_maps(maps.light.flatten(2), places).view(-1, len(axes), 4)
        colors = colors + ((normals @ axes.T)[..., None] * lit).sum(1)
    colors, opacity = colors.split((3, 1), 1)
    opacity = opacity.clamp(0, 1)
    drawn = torch.cat((colors * opacity + background * (1 - opacity), opacity), 1)
    if cover is not None and points is not None and directions is not None:
        facing = (directions * torch.nn.functional.normalize(points, dim=1, eps=1e-20)).sum(1).abs()
        share = ((facing - cover[:, 3]) / covered).clamp(0, 1)
        over = shown(torch.cat((cover[:, :3], share[:, None]), 1), mesh.faces)
        drawn = torch.lerp(drawn, torch.cat((over[:, :3], torch.ones_like(opacity)), 1), over[:, 3:])
    picture[seen] = drawn
    return picture
