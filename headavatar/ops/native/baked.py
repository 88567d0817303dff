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
    coefficients: Tensor, first_shading: int, points: Tensor | None, axes: Tensor | None, background: Tensor,
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
    background = background.float().contiguous()
    picture = torch.empty(height, width, 4)
    handle().ha_shade_baked(
        pointer(fragments.face_index.contiguous()), pointer(fragments.bary.contiguous()), pointer(mesh.faces),
        pointer(uv_faces), pointer(uvs), pointer(texels), pointer(scales), pointer(coefficients), size(first_shading),
        pointer(normals), pointer(axes), size(0 if axes is None else len(axes)), pointer(background), size(height),
        size(width), size(len(texels)), size(len(scales)), pointer(picture),
    )  # fmt: skip
    return picture
