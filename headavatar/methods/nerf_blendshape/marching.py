"""From rays to colors: samples where the grid is occupied, the field at the samples, and compositing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ... import ops
from ...ops.occupancy import march_occupied
from .field import DENSITY_SCALE, Field

REACH_M = 0.05
"""How deep a ray is followed inside occupied voxels, metres: behind that a head hides itself."""
SPACING_M = 0.0025
"""Distance between samples wished for where a ray crosses little, metres."""


@dataclass(frozen=True)
class Shaded:
    """R rays, rendered over black.

    Attributes:
        rgb: (R, 3), alpha: (R,).
        depth: (R,) alpha-weighted distance along the ray, cube units.
        samples: how many were taken.
    """

    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor
    samples: int


def shade(
    field: Field, blended: torch.Tensor, origins: torch.Tensor, directions: torch.Tensor, counts: Sequence[int],
    occupied: torch.Tensor, jitter: torch.Tensor, *, samples: int, cube_side: float,
) -> Shaded:  # fmt: skip
    """Render the rays of some frames.

    Args:
        blended: (B, P) one table per frame.
        origins, directions: (R, 3) in the cube, frame after frame.
        counts: rays of each frame, B numbers.
        occupied: (G, G, G) bool.
        jitter: (R,) in [0, 1).
        samples: most samples on a ray.
        cube_side: metres.
    """
    positions, deltas, distances, ray_offsets = march_occupied(
        origins, directions, occupied, samples, REACH_M / cube_side, SPACING_M / cube_side, jitter
    )
    lengths = ray_offsets[1:] - ray_offsets[:-1]
    ray_index = torch.repeat_interleave(torch.arange(len(origins), device=origins.device), lengths)
    starts = torch.tensor([0, *counts]).cumsum(0)
    frame_offsets = ray_offsets[starts.to(ray_offsets.device)]
    sigma, rgb = ops.nerf_field(
        positions, blended, ops.spherical_harmonics(directions), ray_index, field.sigma_weights, field.color_weights,
        field.spec, frame_offsets=frame_offsets,
    )  # fmt: skip
    picture = ops.composite(sigma, rgb, deltas * (cube_side * DENSITY_SCALE), distances, ray_offsets)
    return Shaded(picture.rgb, picture.alpha, picture.depth, len(positions))
