"""Volume rendering in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def composite(
    sigma: Tensor, rgb: Tensor, deltas: Tensor, distances: Tensor, ray_offsets: Tensor, stop: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`ops.composite`: color (R, 3), alpha (R,) and distance times alpha (R,)."""
    offsets = ray_offsets.long()
    counts = offsets.diff()
    rays = len(counts)
    ray = torch.repeat_interleave(torch.arange(rays, device=sigma.device), counts)
    optical = (sigma * deltas).double()
    before = optical.cumsum(0) - optical
    # The sum over all samples before the ray's first one is taken away, which leaves the sum within the ray.
    first = torch.cat((before, before.new_zeros(1)))[offsets[:-1].clamp_max(len(sigma))]
    transmittance = torch.exp(first[ray] - before)
    weight = transmittance * -torch.expm1(-optical)
    weight = torch.where(transmittance.detach() >= stop, weight, 0.0).to(rgb.dtype)
    values = torch.cat((rgb, torch.ones_like(weight)[:, None], distances[:, None]), 1) * weight[:, None]
    total = values.new_zeros(rays, 5).index_add(0, ray, values)
    return total[:, :3], total[:, 3], total[:, 4]
