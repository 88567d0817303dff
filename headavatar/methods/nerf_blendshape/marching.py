"""From rays to colors: samples where the grid is occupied, the field at the samples, and compositing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ... import ops
from .field import DENSITY_SCALE, HARMONICS, Field

SPACING_M = 0.0025
"""A ray that crosses little gets fewer samples: they need not lie closer than this, metres."""
BEHIND_M = 0.06
"""Rays end this far behind the middle of the cube, metres: what lies deeper is hidden."""
PROBES = 128
"""Pieces of a ray that are looked up in the occupancy grid."""


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
    occupied: torch.Tensor, *, samples: int, cube_side: float, jitter: tuple[int, int] | None = None,
) -> Shaded:  # fmt: skip
    """Render the rays of some frames.

    Args:
        blended: (B, P) one table per frame.
        origins, directions: (R, 3) in the cube, frame after frame.
        counts: rays of each frame, B numbers.
        occupied: (G, G, G) bool.
        samples: most samples on a ray.
        cube_side: metres.
        jitter: (seed, step) that place the samples at random; in the middle of their strata where None.
    """
    seed, step = jitter or (0, 0)
    rays = ops.sample_rays(
        origins, directions, torch.zeros(len(origins), device=origins.device),
        (0.5 - origins).norm(dim=1) + BEHIND_M / cube_side, samples, low=torch.zeros(3), high=torch.ones(3),
        occupancy=occupied, probes=PROBES, min_step=SPACING_M / cube_side, seed=seed, step=step,
        jitter=jitter is not None,
    )  # fmt: skip
    starts = torch.tensor([0, *counts], device=origins.device).cumsum(0)
    sigma, rgb = ops.nerf_field(
        rays.positions, blended, ops.spherical_harmonics(directions, HARMONICS), rays.ray_index, field.sigma_weights,
        field.color_weights, field.spec, frame_offsets=rays.ray_offsets[starts],
    )  # fmt: skip
    picture = ops.composite(
        sigma, rgb, rays.deltas * (cube_side * DENSITY_SCALE), rays.distances, rays.ray_offsets
    )
    return Shaded(picture.rgb, picture.alpha, picture.depth, len(rays.positions))
