"""Samples along rays, placed only where an occupancy grid says that something can be."""

from __future__ import annotations

import torch

from headavatar.ops.reference import occupancy as reference


def march_occupied(
    origins: torch.Tensor, directions: torch.Tensor, occupied: torch.Tensor, samples: int, reach: float, spacing: float,
    jitter: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Walk rays through the unit cube voxel by voxel and spread samples evenly over the occupied length.

    A ray of n occupied ticks, a tick being the edge of a voxel, gets ceil(n · tick / spacing) samples, at most
    `samples`; ticks beyond the first `reach` of occupied length are not sampled, since a head is opaque.

    Args:
        origins: (R, 3) in cube units.
        directions: (R, 3) of length 1.
        occupied: (G, G, G) bool, indexed [x, y, z].
        samples: most samples on a ray.
        reach: occupied length that is sampled, cube units.
        spacing: distance between samples wished for, cube units.
        jitter: (R,) in [0, 1), place of the samples within their strata.
    Returns:
        positions (N, 3) in [0, 1], deltas (N,) and distances (N,) in cube units, ray_offsets (R + 1,) int64: the
        samples of ray r are those from ray_offsets[r] up to ray_offsets[r + 1].
    """
    return reference.march(origins, directions, occupied, samples, reach, spacing, jitter)
