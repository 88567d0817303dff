"""Bindings of baked.cpp and shading.cpp."""

from __future__ import annotations

import ctypes
from operator import mul
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headavatar.ops.native.library import handle
from headavatar.ops.native.structs import BakedArgs, address

if TYPE_CHECKING:
    from headavatar.ops.baked import BakedMaps
    from headavatar.ops.topology import Topology


def draw(
    vertices: Tensor, mesh: Topology, uv_faces: Tensor, uvs: Tensor, maps: BakedMaps, weights: Tensor,
    points: Tensor | None, axes: Tensor | None, background: Tensor, cover: Tensor | None, covered: float, height: int,
    width: int, near: float, cull: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`ops.shade_baked`: color (H, W, 3), alpha and depth (H, W).

    Args:
        weights: (K,).
        points, axes: (V, 3) and (R, 3) of shading, or None.
        cover: (V, 4) or None; with points only.
        covered: cosines from where it begins to where it shows alone.
    Raises:
        ValueError: faces point outside the vertices.
    """
    if mesh.vertex_count > len(vertices):
        raise ValueError(f"faces point outside the {len(vertices)} vertices")
    vertices, uvs = vertices.contiguous(), uvs.float().contiguous()
    # few numbers: torch's calls take longer; what fills the scales up to whole vectors stays 0
    factors = (ctypes.c_float * len(maps.scales))(*map(mul, weights.tolist(), maps.scales.tolist()))
    points = None if points is None else points.float().contiguous()
    axes = None if axes is None else axes.float().contiguous()
    cover = None if cover is None else cover.float().contiguous()
    background = background.contiguous()
    rgb, alpha, depth = torch.empty(height, width, 3), torch.empty(height, width), torch.empty(height, width)
    args = BakedArgs(
        address(vertices), address(points), address(uvs), address(maps.base), ctypes.addressof(factors),
        address(maps.light), address(axes), address(background), address(cover), address(mesh.faces),
        address(mesh.twins), address(mesh.starts), address(mesh.around), address(uv_faces), address(maps.texels),
        address(rgb), address(alpha), address(depth),
        mesh.vertex_count, len(mesh.faces), height, width, len(maps.base), len(maps.texels), len(maps.scales),
        len(maps.light), 0 if axes is None else len(axes), near, covered, cull, mesh.oriented,
    )  # fmt: skip
    handle().ha_draw_baked(ctypes.byref(args))
    return rgb, alpha, depth
