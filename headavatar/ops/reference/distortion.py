"""How far the light of rays is spread along them, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def distortion(optical: Tensor, distances: Tensor, deltas: Tensor, ray_offsets: Tensor) -> Tensor:
    """`ops.distortion`: (R,)."""
    offsets = ray_offsets.long()
    counts = offsets.diff()
    ray = torch.repeat_interleave(torch.arange(len(counts), device=optical.device), counts)

    def before(values: Tensor) -> Tensor:
        """Sums over the samples of a ray before each one."""
        running = torch.cat((values.new_zeros(1), values.cumsum(0)))
        return running[:-1] - running[offsets[:-1]][ray]

    depth, at = optical.double(), distances.double()
    weight = torch.exp(-before(depth)) * -torch.expm1(-depth)
    pairs = 2 * weight * (at * before(weight) - before(weight * at)) + weight**2 * deltas / 3
    return pairs.new_zeros(len(counts)).index_add(0, ray, pairs).to(optical.dtype)
