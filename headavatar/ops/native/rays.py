"""Bindings of rays.cpp: sampling and compositing."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.native.library import handle, pointer, size


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sigma: Tensor, rgb: Tensor, deltas: Tensor, distances: Tensor, offsets: Tensor, stop: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        rays = len(offsets) - 1
        color, alpha, depth = sigma.new_empty(rays, 3), sigma.new_empty(rays), sigma.new_empty(rays)
        handle().ha_composite(
            pointer(sigma), pointer(rgb), pointer(deltas), pointer(distances), pointer(offsets), size(rays),
            ctypes.c_double(stop), pointer(color), pointer(alpha), pointer(depth),
        )  # fmt: skip
        ctx.save_for_backward(sigma, rgb, deltas, distances, offsets)
        ctx.stop = stop
        return color, alpha, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_color: Tensor, grad_alpha: Tensor, grad_depth: Tensor) -> tuple[Tensor | None, ...]:
        sigma, rgb, deltas, distances, offsets = ctx.saved_tensors
        grad_sigma, grad_rgb = torch.empty_like(sigma), torch.empty_like(rgb)
        grads = [g.contiguous() for g in (grad_color, grad_alpha, grad_depth)]
        handle().ha_composite_backward(
            pointer(sigma), pointer(rgb), pointer(deltas), pointer(distances), pointer(offsets), size(len(offsets) - 1),
            ctypes.c_double(ctx.stop), *(pointer(g) for g in grads), pointer(grad_sigma), pointer(grad_rgb),
        )  # fmt: skip
        return grad_sigma, grad_rgb, None, None, None, None


def composite(
    sigma: Tensor, rgb: Tensor, deltas: Tensor, distances: Tensor, ray_offsets: Tensor, stop: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`ops.composite`: color (R, 3), alpha (R,) and distance times alpha (R,).

    Raises:
        ValueError: the offsets are out of range, which would read foreign memory.
    """
    offsets = ray_offsets.long().contiguous()
    if len(offsets) and (int(offsets[0]) < 0 or int(offsets[-1]) > len(sigma) or bool((offsets.diff() < 0).any())):
        raise ValueError(f"ray_offsets do not rise from 0 to {len(sigma)}")
    result: tuple[Tensor, Tensor, Tensor] = _Composite.apply(
        sigma.contiguous(), rgb.contiguous(), deltas.contiguous(), distances.contiguous(), offsets, stop
    )
    return result


def cells_of(occupancy: Tensor | None) -> tuple[Tensor | None, int]:
    """An occupancy grid as the kernels take it, a byte a cell, and its cells a side.

    Raises:
        ValueError: the grid has so many cells that their numbers do not fit the kernels' 32 bits.
    """
    if occupancy is None:
        return None, 1
    if len(occupancy) > 1024:
        raise ValueError(f"an occupancy grid of {len(occupancy)} cells a side; 1024 are the most")
    kept = torch.uint8 if occupancy.dtype == torch.uint8 else torch.bool
    return occupancy.to("cpu", kept).contiguous(), len(occupancy)


def pack_cells(cells: Tensor) -> tuple[Tensor, Tensor]:
    """What the kernels look up in a grid of `cells_of`: bits (2, words), and the box of those that are not empty."""
    side = len(cells)
    words, box = torch.empty(2, -(-(side**3) // 32), dtype=torch.int32), torch.empty(7, dtype=torch.int64)
    handle().ha_pack_cells(pointer(cells), size(side), pointer(words), pointer(box))
    return words, box


def sample_rays(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    samples: int,
    low: Tensor,
    high: Tensor,
    occupancy: Tensor | None,
    probes: int,
    min_step: float,
    seed: int,
    step: int,
    jitter: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`ops.sample_rays`: positions, distances, deltas, ray_index and ray_offsets."""
    origins, directions, near, far = (t.contiguous() for t in (origins, directions, near, far))
    low, high = low.contiguous(), high.contiguous()
    cells, side = cells_of(occupancy)
    probes = 1 if cells is None else probes
    rays = len(origins)
    pieces = torch.empty(rays, probes, dtype=torch.int16)
    filled, counts = torch.empty(rays, dtype=torch.int32), torch.empty(rays, dtype=torch.int64)
    interval = torch.empty(rays, 2)
    handle().ha_probe_rays(
        pointer(origins), pointer(directions), pointer(near), pointer(far), size(rays), pointer(low), pointer(high),
        pointer(cells), size(side), size(probes), size(samples), ctypes.c_double(min_step), pointer(pieces),
        pointer(filled), pointer(interval), pointer(counts),
    )  # fmt: skip
    offsets = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
    total = int(offsets[-1])
    positions, distances, deltas = torch.empty(total, 3), torch.empty(total), torch.empty(total)
    ray_index = torch.empty(total, dtype=torch.int32)
    handle().ha_place_samples(
        pointer(origins), pointer(directions), size(rays), pointer(low), pointer(high), size(probes), size(samples),
        pointer(pieces), pointer(filled), pointer(interval), pointer(offsets), size(seed), size(step),
        ctypes.c_int(jitter), pointer(positions), pointer(distances), pointer(deltas), pointer(ray_index),
    )  # fmt: skip
    return positions, distances, deltas, ray_index, offsets
