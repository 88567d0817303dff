"""Bindings of render.cpp: rays to colors in one call."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headavatar.ops.native.hashgrid import grid_args
from headavatar.ops.native.library import handle
from headavatar.ops.native.structs import RayArgs, RenderArgs, address, net_args

if TYPE_CHECKING:
    from headavatar.ops.hashgrid import HashGridSpec


def render_rays(
    origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, table: Tensor, sigma_weights: list[Tensor],
    color_weights: list[Tensor], spec: HashGridSpec, bands: int, samples: int, low: Tensor, high: Tensor,
    packed: tuple[Tensor, Tensor, Tensor] | None, probes: int, min_step: float, shift: float, scale: float,
    opaque: float, warp: Tensor | None, nodes: int, columns: int, agreement: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`ops.render_rays` with what `Cells.packed` holds: color (R, 3), alpha (R,) and distance times alpha (R,)."""
    rays = len(origins)
    origins, directions, near, far = (t.detach().contiguous() for t in (origins, directions, near, far))
    low, high, table = low.contiguous(), high.contiguous(), table.detach().contiguous()
    weights = [w.detach().contiguous() for w in (*sigma_weights, *color_weights)]
    warp = None if warp is None else warp.detach().contiguous()
    cells, words, box = packed or (None, None, None)
    color, alpha, depth = torch.empty(rays, 3), torch.empty(rays), torch.empty(rays)
    sigma_net, sigma_alive = net_args(weights[: len(sigma_weights)], None)
    color_net, color_alive = net_args(weights[len(sigma_weights) :], None)
    ray_args = RayArgs(
        address(origins), address(directions), address(near), address(far), address(low), address(high),
        address(cells), rays, 1 if cells is None else len(cells), 1 if cells is None else probes, samples, min_step,
        address(words), address(box),
    )  # fmt: skip
    args = RenderArgs(
        ray_args, grid_args(spec, origins, table[None], None), sigma_net, color_net, shift, scale, opaque, bands,
        address(warp), nodes, columns, agreement, address(color), address(alpha), address(depth),
    )  # fmt: skip
    handle().ha_render(ctypes.byref(args))
    del sigma_alive, color_alive
    return color, alpha, depth
