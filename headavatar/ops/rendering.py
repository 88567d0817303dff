"""From rays to colors in one call, where nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headavatar.ops.compositing import STOP, Composite, composite
from headavatar.ops.field import nerf_field
from headavatar.ops.harmonics import spherical_harmonics
from headavatar.ops.hashgrid import HashGridSpec, runs_native
from headavatar.ops.mlp import check_layers
from headavatar.ops.native import rendering as native
from headavatar.ops.reference import rendering as reference
from headavatar.ops.sampling import Cells, sample_rays
from headavatar.ops.warping import nodes_of, warp_points


@torch.no_grad()
def render_rays(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    table: Tensor,
    sigma_weights: Sequence[Tensor],
    color_weights: Sequence[Tensor],
    spec: HashGridSpec,
    *,
    bands: int,
    samples: int,
    low: Tensor,
    high: Tensor,
    occupancy: Tensor | Cells | None = None,
    probes: int = 64,
    min_step: float = 0.0,
    density_shift: float = -3.0,
    density_scale: float = 1.0,
    warp: Tensor | None = None,
    opaque: float = STOP,
    columns: int = 0,
    agreement: float = 0.0,
) -> Composite:
    """What rays of one frame see: `sample_rays` without jitter, `nerf_field` and `composite`, without gradients.

    The native kernel walks a few samples of each ray at a time and ends rays that have become opaque, so samples are
    never stored. Elsewhere the three run one after the other, which is also what tests hold the kernel against.

    Args:
        origins, directions: (R, 3), in the space of the box; directions of length 1.
        near, far: (R,) interval along the direction; empty where far <= near.
        table: (P,) blended table.
        sigma_weights: matrices (outputs, inputs) from spec.width to 1 + G.
        color_weights: matrices from G + bands ** 2 to 3.
        spec: the grid's layout.
        bands: of the spherical harmonics of the direction that the color network is given, 1 to 4.
        samples: the most samples of a ray.
        low, high, probes, min_step: as in `sample_rays`.
        occupancy: likewise, or `Cells` where many calls use the same.
        density_shift: as in `nerf_field`.
        density_scale: density per softplus, per unit of distance along the rays.
        warp: (nodes³ · 4) displacements that samples are moved by before the field is asked, as in `warp_points`.
        opaque: a ray of whose light less than this is left counts as opaque: the rest is taken to look like what was
            seen of it. At 1e-2 a sixth of a soft head's samples are saved, and pictures agree to some 70 dB.
        columns: of the picture whose rows the rays are, where they are one; 0 elsewhere.
        agreement: a pixel of that picture lies between its neighbors where colors and opacities of the nearest four
            differ by no more than this, their distances by no more than this share, and a cubic surface through
            sixteen of them is bent by no more than a twentieth of this: first those with odd columns and rows, between
            diagonal neighbors, then every other one that is left. 0 follows all rays.
    Returns:
        Composite of the R rays, without gradients.
    Raises:
        ValueError: shapes do not fit.
    """
    rays = origins.shape[:1]
    if origins.ndim != 2 or origins.shape[1] != 3 or directions.shape != origins.shape:
        raise ValueError(f"origins {tuple(origins.shape)} and directions {tuple(directions.shape)} are not (R, 3)")
    if near.shape != rays or far.shape != rays:
        raise ValueError(f"near {tuple(near.shape)} and far {tuple(far.shape)} for {len(origins)} rays")
    if not 1 <= bands <= 4 or samples < 1 or not 1 <= probes <= 1024:
        raise ValueError("a ray needs 1 to 4 bands, at least one sample, and 1 to 1024 probes")
    if columns < 0 or (columns and len(origins) % columns):
        raise ValueError(f"{len(origins)} rays are not rows of {columns}")
    grid = occupancy.grid if isinstance(occupancy, Cells) else occupancy
    if grid is not None and (grid.ndim != 3 or len(set(grid.shape)) != 1):
        raise ValueError(f"an occupancy grid is a cube, not {tuple(grid.shape)}")
    if table.shape != (spec.parameters,):
        raise ValueError(f"a table {tuple(table.shape)} for a grid of {spec.parameters} parameters")
    check_layers(sigma_weights, spec.width)
    check_layers(color_weights, sigma_weights[-1].shape[0] - 1 + bands**2)
    if color_weights[-1].shape[0] != 3:
        raise ValueError("the color network must end in 3")
    low, high = (corner.to(origins, non_blocking=True) for corner in (low, high))
    nodes = 0 if warp is None else nodes_of(warp)
    moved = () if warp is None else (warp,)
    if runs_native(spec, origins, directions, near, far, table, *sigma_weights, *color_weights, *moved):
        kept = occupancy if isinstance(occupancy, Cells) else None if grid is None else Cells(grid)
        return Composite(
            *native.render_rays(
                origins, directions, near, far, table, list(sigma_weights), list(color_weights), spec, bands, samples,
                low, high, None if kept is None else kept.packed, probes, min_step, density_shift, density_scale,
                opaque, warp, nodes, columns, agreement,
            )
        )  # fmt: skip
    found = sample_rays(
        origins, directions, near, far, samples, low=low, high=high, occupancy=grid, probes=probes,
        min_step=min_step, jitter=False,
    )  # fmt: skip
    # On a card the samples' tensors are longer than their number.
    ends = torch.stack((found.ray_offsets[0], found.ray_offsets[-1]))
    positions = found.positions if warp is None else warp_points(found.positions, warp[None], ends)
    sigma, rgb = nerf_field(
        positions, table[None], spherical_harmonics(directions, bands), found.ray_index, sigma_weights,
        color_weights, spec, frame_offsets=ends, density_shift=density_shift, density_scale=density_scale,
    )  # fmt: skip
    seen = composite(sigma, rgb, found.deltas, found.distances, found.ray_offsets)
    whole = torch.where(seen.alpha > 1 - opaque, seen.alpha, 1.0)
    seen = Composite(seen.rgb / whole[:, None], seen.alpha / whole, seen.depth / whole)
    return reference.between_neighbors(seen, columns, agreement) if columns > 2 and agreement > 0 else seen
