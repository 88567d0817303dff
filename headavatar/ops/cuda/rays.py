"""Launches sampling and compositing."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.cuda.kernels import rays as kernels

BLOCK = 64
LANES = 512
"""Rays of a program times what each has."""


def _mix(value: int) -> int:
    """`kernels.mix` of one number."""
    value = (value ^ value >> 16) * 0x7FEB352D & 0xFFFFFFFF
    value = (value ^ value >> 15) * 0x846CA68B & 0xFFFFFFFF
    return value ^ value >> 16


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
    """`ops.sample_rays`: positions, distances, deltas, ray_index and ray_offsets, with room for `samples` a ray.

    Rows from ray_offsets[-1] on are zeros.
    """
    origins, directions, near, far = (t.contiguous() for t in (origins, directions, near, far))
    low, high = low.contiguous(), high.contiguous()
    device, rays = origins.device, len(origins)
    probes = 1 if occupancy is None else probes
    cells = None if occupancy is None else occupancy.to(device, torch.bool, non_blocking=True).contiguous()
    room = rays * samples
    positions, deltas = origins.new_zeros(room, 3), origins.new_zeros(room)
    distances, ray_index = origins.new_zeros(room), torch.zeros(room, dtype=torch.int32, device=device)
    offsets = torch.zeros(rays + 1, dtype=torch.int64, device=device)
    if rays == 0:
        return positions, distances, deltas, ray_index, offsets
    pieces = torch.empty(rays, probes, dtype=torch.int16, device=device)
    filled, counts = torch.empty(rays, dtype=torch.int32, device=device), torch.empty_like(offsets[1:])
    interval = origins.new_empty(rays, 2)
    wide = triton.next_power_of_2(probes)
    block = max(1, min(BLOCK, LANES // wide))
    kernels.probe[(triton.cdiv(rays, block),)](
        origins, directions, near, far, low, high, origins if cells is None else cells.view(torch.uint8),
        1 if cells is None else len(cells), probes, samples, min_step, rays, pieces, filled, interval, counts,
        GRID=cells is not None, BOUNDED=min_step > 0, PROBES=wide, BLOCK=block, enable_fp_fusion=False,
    )  # fmt: skip
    torch.cumsum(counts, 0, out=offsets[1:])
    key = _mix((seed + 0x9E3779B9 * step) & 0xFFFFFFFF)
    wide = triton.next_power_of_2(samples)
    block = max(1, min(BLOCK, LANES // wide))
    kernels.place[(triton.cdiv(rays, block),)](
        origins, directions, low, high, pieces, filled, interval, offsets, key - (key >> 31 << 32), probes, samples,
        rays, positions, distances, deltas, ray_index, JITTER=jitter, SAMPLES=wide, BLOCK=block,
        enable_fp_fusion=False,
    )  # fmt: skip
    return positions, distances, deltas, ray_index, offsets


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sigma: Tensor, rgb: Tensor, deltas: Tensor, distances: Tensor, offsets: Tensor, stop: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        rays = len(offsets) - 1
        color, alpha, depth = sigma.new_empty(rays, 3), sigma.new_empty(rays), sigma.new_empty(rays)
        if rays:
            kernels.composite[(triton.cdiv(rays, BLOCK),)](
                sigma, rgb, deltas, distances, offsets, rays, len(sigma), stop, color, alpha, depth, BLOCK=BLOCK,
                num_warps=BLOCK // 32,
            )  # fmt: skip
        ctx.save_for_backward(sigma, rgb, deltas, distances, offsets)
        ctx.stop = stop
        return color, alpha, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_color: Tensor, grad_alpha: Tensor, grad_depth: Tensor) -> tuple[Tensor | None, ...]:
        sigma, rgb, deltas, distances, offsets = ctx.saved_tensors
        rays = len(offsets) - 1
        grad_sigma, grad_rgb = torch.zeros_like(sigma), torch.zeros_like(rgb)
        if rays:
            kernels.composite_backward[(triton.cdiv(rays, BLOCK),)](
                sigma, rgb, deltas, distances, offsets, rays, len(sigma), ctx.stop, grad_color.contiguous(),
                grad_alpha.contiguous(), grad_depth.contiguous(), grad_sigma, grad_rgb, BLOCK=BLOCK,
                num_warps=BLOCK // 32,
            )  # fmt: skip
        return grad_sigma, grad_rgb, None, None, None, None


def composite(
    sigma: Tensor, rgb: Tensor, deltas: Tensor, distances: Tensor, ray_offsets: Tensor, stop: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`ops.composite`: color (R, 3), alpha (R,) and distance times alpha (R,)."""
    offsets = ray_offsets.to(sigma.device, torch.int64, non_blocking=True).contiguous()
    result: tuple[Tensor, Tensor, Tensor] = _Composite.apply(
        sigma.contiguous(), rgb.contiguous(), deltas.contiguous(), distances.contiguous(), offsets, stop
    )
    return result
