"""Bindings of baked.cpp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headavatar.ops.native.library import handle, pointer, size

if TYPE_CHECKING:
    from headavatar.ops.raster import Fragments
    from headavatar.ops.topology import Topology

MOST_MAPS = 512


def shade(
    fragments: Fragments, mesh: Topology, uv_faces: Tensor, uvs: Tensor, texels: Tensor, scales: Tensor,
    coefficients: Tensor, points: Tensor | None, axes: Tensor | None, light: Tensor, background: Tensor,
) -> Tensor:  # fmt: skip
    """`reference.baked.shade`.

    Raises:
        ValueError: more maps than the kernel holds.
    """
    height, width = fragments.face_index.shape
    if len(scales) > MOST_MAPS:
        raise ValueError(f"{len(scales)} maps; {MOST_MAPS} are the most")
    normals = None
    if points is not None:
        normals, scratch = torch.zeros(points.shape), torch.empty(len(mesh.faces), 3)
        points = points.float().contiguous()
        handle().ha_vertex_normals(
            pointer(points), pointer(mesh.faces), pointer(mesh.starts), pointer(mesh.around), size(mesh.vertex_count),
            size(len(mesh.faces)), pointer(scratch), pointer(normals),
        )  # fmt: skip
    uvs, texels, scales, coefficients = (t.contiguous() for t in (uvs, texels, scales, coefficients))
    axes = None if axes is None else axes.float().contiguous()
    light, background = light.contiguous(), background.float().contiguous()
    side = len(texels)
    touched, blended = torch.zeros(side, side, dtype=torch.uint8), torch.zeros(side, side, 4)
    picture = torch.empty(height, width, 4)
    handle().ha_shade_baked(
        pointer(fragments.face_index.contiguous()), pointer(fragments.bary.contiguous()), pointer(mesh.faces),
        pointer(uv_faces), pointer(uvs), pointer(texels), pointer(scales), pointer(coefficients), pointer(normals),
        pointer(axes), pointer(light), size(0 if axes is None else len(axes)), pointer(background), size(height),
        size(width), size(side), size(len(scales)), size(len(light)), pointer(touched), pointer(blended),
        pointer(picture),
    )  # fmt: skip
    return picture
