"""From rays to colors: samples where the grid is occupied, the field at the samples, and compositing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ... import ops
from .field import HARMONICS, Field, Posed

SPACING_M = 0.0025
"""How close samples on a ray need to lie, unless settings say otherwise, metres."""
BEHIND_M = 0.06
"""Rays end this far behind the middle of the cube, metres: what lies deeper is hidden."""
OPAQUE = 1e-2
"""A rendered ray of whose light less than this is left is opaque; in training what lies behind must be learned."""
AGREEMENT = 11 / 255
"""A rendered pixel whose neighbors differ by no more than this may lie between them: 0.0004 to 0.0012 LPIPS."""
FAINT = 0.2
"""Rays that see less than this count for less in how far their light is spread."""
PROBES = 64
"""Pieces of a ray that are looked up in the occupancy grid."""


@dataclass(frozen=True)
class Shaded:
    """R rays, rendered over black.

    Attributes:
        rgb: (R, 3), alpha: (R,).
        depth: (R,) alpha-weighted distance along the ray, cube units.
        positions: (N, 3) of the samples, in the cube.
        weights: (N,) share of its ray's light that each sample gave, without gradients.
        light: (N,) share of its ray's light that came as far as each sample, without gradients.
        ray_index: (N,) the ray of each sample.
        spread: (R,) mean distance between two places that a ray's light comes from, metres; empty where not asked for.
    """

    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor
    positions: torch.Tensor
    weights: torch.Tensor
    light: torch.Tensor
    ray_index: torch.Tensor
    spread: torch.Tensor


def shade(
    field: Field, posed: Posed, origins: torch.Tensor, directions: torch.Tensor, counts: Sequence[int],
    occupied: torch.Tensor, *, samples: int, cube_side: float, spacing_m: float = SPACING_M,
    jitter: tuple[int, int] | None = None, spread: bool = False, far: torch.Tensor | None = None,
) -> Shaded:  # fmt: skip
    """Render the rays of some frames.

    Args:
        posed: of B frames.
        origins, directions: (R, 3) in the cube, frame after frame; may carry gradients, for the pose of a frame.
        counts: rays of each frame, B numbers.
        occupied: (G, G, G) bool, or with backing voxels as `ops.sample_rays` takes them.
        samples: most samples on a ray, backing aside.
        cube_side: metres.
        spacing_m: a ray that crosses little gets fewer samples, so that they need not lie closer than this, metres.
        jitter: (seed, step) that place the samples at random, in training; in the middle of their strata where None,
            and `weights` and `light` are left empty.
        spread: ask for `Shaded.spread`.
        far: (R,) where rays end, cube units; behind the cube's middle where None.
    """
    seed, step = jitter or (0, 0)
    end = (0.5 - origins).norm(dim=1) + BEHIND_M / cube_side
    rays = ops.sample_rays(
        origins, directions, torch.zeros(len(origins), device=origins.device),
        end if far is None else torch.minimum(end, far), samples, low=torch.zeros(3), high=torch.ones(3),
        occupancy=occupied, probes=PROBES, min_step=spacing_m / cube_side, seed=seed, step=step,
        jitter=jitter is not None,
    )  # fmt: skip
    positions = rays.positions
    if origins.requires_grad or directions.requires_grad:  # where the samples lie along their rays stays as it is
        ray = rays.ray_index.long()
        positions = origins[ray] + rays.distances[:, None] * directions[ray]
    # Not waiting for the copy keeps the card busy.
    starts = torch.tensor([0, *counts]).cumsum(0).to(origins.device, non_blocking=True)
    borders = rays.ray_offsets[starts]
    if posed.warp is not None:
        positions = ops.warp_points(positions, posed.warp, borders)
    features = ops.spherical_harmonics(directions.detach(), HARMONICS)
    sigma, rgb = ops.nerf_field(
        positions, posed.blended, features, rays.ray_index, field.sigma_weights, field.color_weights, field.spec,
        frame_offsets=borders, density_shift=field.density_shift,
    )  # fmt: skip
    lengths = rays.deltas * (cube_side * field.density_scale)
    picture = ops.composite(sigma, rgb, lengths, rays.distances, rays.ray_offsets)
    optical = sigma.detach() * lengths if jitter else sigma[:0]
    light = ray_light(optical, rays.ray_index, rays.ray_offsets)
    weights = light * -torch.expm1(-optical)
    apart = sigma[:0]
    if spread:
        # Per ray's own light: what is penalized is its place, not that there is some, or outlines of hair thin out.
        pairs = ops.distortion(sigma * lengths, rays.distances, rays.deltas, rays.ray_offsets)
        apart = pairs * cube_side / picture.alpha.clamp_min(FAINT) ** 2
    return Shaded(picture.rgb, picture.alpha, picture.depth, rays.positions, weights, light, rays.ray_index, apart)


def composite_of(shaded: Shaded) -> ops.Composite:
    """Colors, opacities and distances of rays that were shaded."""
    return ops.Composite(shaded.rgb, shaded.alpha, shaded.depth)


def look(
    field: Field, posed: Posed, origin: torch.Tensor, directions: torch.Tensor,
    occupied: torch.Tensor | ops.Cells, *, samples: int, cube_side: float, spacing_m: float = SPACING_M,
    columns: int = 0, far: torch.Tensor | None = None,
) -> ops.Composite:  # fmt: skip
    """Render rays from one point, without gradients: what `shade` gives without jitter, nearly, in one call.

    Args:
        posed: of one frame.
        origin: (3,), directions: (R, 3) in the cube.
        occupied, samples, cube_side, spacing_m: as for `shade`; `Cells` where many pictures are drawn.
        columns: of the picture whose rows the rays are; where it is smooth only some of them are followed. 0 follows
            all of them.
        far: (R,) where rays end, cube units; behind the cube's middle where None.
    Returns:
        colors and opacities over black, and opacity-weighted distances in cube units.
    """
    count, corner = len(directions), torch.zeros(3)
    end = ((0.5 - origin).norm() + BEHIND_M / cube_side).expand(count)
    return ops.render_rays(
        origin.expand(count, 3), directions, torch.zeros(count, device=origin.device),
        end if far is None else torch.minimum(end, far),
        posed.blended[0], field.sigma_weights, field.color_weights, field.spec, bands=HARMONICS, samples=samples,
        low=corner, high=corner + 1, occupancy=occupied, probes=PROBES, min_step=spacing_m / cube_side,
        density_shift=field.density_shift, density_scale=cube_side * field.density_scale,
        warp=None if posed.warp is None else posed.warp[0], opaque=OPAQUE, columns=columns,
        agreement=AGREEMENT,
    )  # fmt: skip


def ray_light(optical: torch.Tensor, ray_index: torch.Tensor, ray_offsets: torch.Tensor) -> torch.Tensor:
    """(N,) share of its ray's light that comes as far as each sample, from (N,) optical depths."""
    before = optical.double().cumsum(0) - optical
    if len(before) == 0:
        return optical
    first = before[ray_offsets[:-1].clamp_max(len(before) - 1)]
    return torch.exp(first[ray_index.long()] - before).float()
