"""Ray sampling in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def _mix(value: Tensor) -> Tensor:
    """A bijection of 32-bit integers, held in int64. Source: C. Wellons 2018, "lowbias32"."""
    value = (value ^ (value >> 16)) * 0x7FEB352D & _MASK
    value = (value ^ (value >> 15)) * 0x846CA68B & _MASK
    return value ^ (value >> 16)


def random_unit(seed: int, step: int, counter: Tensor) -> Tensor:
    """Numbers in [0, 1) that depend on (seed, step, counter) only, float32."""
    key = _mix(torch.tensor((seed + 0x9E3779B9 * step) & _MASK, device=counter.device))
    return (_mix(key ^ _mix((counter + 1) & _MASK)) >> 8).float() * 2.0**-24


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
    device, rays = origins.device, len(origins)
    to_low, to_high = (low - origins) / directions, (high - origins) / directions
    near, far = near.clone(), far.clone()
    for axis in range(3):
        near = torch.fmax(near, torch.fmin(to_low[:, axis], to_high[:, axis]))
        far = torch.fmin(far, torch.fmax(to_low[:, axis], to_high[:, axis]))
    pieces = 1 if occupancy is None else probes
    piece = (far - near) / pieces
    if occupancy is None:
        inside = torch.ones(rays, 1, dtype=torch.uint8, device=device)
    else:
        middle = near[:, None] + (torch.arange(pieces, device=device) + 0.5) * piece[:, None]
        side = len(occupancy)
        where = _to_box(origins[:, None], directions[:, None], middle[..., None], low, high)
        cell = torch.nan_to_num(where * side).long().clamp(0, side - 1)
        inside = occupancy.to(torch.uint8)[cell.unbind(-1)]
    sampled = inside % 2 == 1
    filled = torch.where(piece > 0, sampled.sum(1), 0)
    bare = filled - torch.where(piece > 0, (sampled & (inside > 1)).sum(1), 0)
    counts = torch.where(bare > 0, samples, 0)
    if min_step > 0:
        needed = (bare * piece / min_step).ceil().nan_to_num(0).clamp(0, samples).long()
        counts = torch.minimum(counts, needed)
    backed = counts * filled + (bare - 1).clamp_min(0)
    counts = torch.div(backed, bare.clamp_min(1), rounding_mode="floor")  # as densely where pieces only back others
    offsets = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
    ray = torch.repeat_interleave(torch.arange(rays, device=device), counts)
    number = torch.arange(len(ray), device=device) - offsets[ray]
    offset = random_unit(seed, step, ray * samples + number).to(origins) if jitter else 0.5
    share = (filled[ray].to(origins) / counts[ray].to(origins)).to(origins)
    along = (number + offset) * share
    which = torch.minimum(along.long(), filled[ray] - 1)
    order = torch.argsort(~sampled, dim=1, stable=True)  # the pieces that are not empty first, in their order
    distances = near[ray] + (order[ray, which] + (along - which)) * piece[ray]
    positions = _to_box(origins[ray], directions[ray], distances[:, None], low, high)
    return positions, distances, share * piece[ray], ray.int(), offsets


def _to_box(origins: Tensor, directions: Tensor, distances: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return ((origins + distances * directions - low) / (high - low)).clamp(0, 1)
