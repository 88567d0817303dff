"""Where along a ray the field is asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.native import rays as native
from headavatar.ops.reference import sampling as reference

BACKING = 3
"""In an occupancy grid of bytes: a cell that only backs others, see `sample_rays`."""


@dataclass(frozen=True)
class Cells:
    """An occupancy grid that many pictures look things up in: what the kernel makes of it is kept.

    Attributes:
        grid: as `sample_rays` takes it; not to be changed.
    """

    grid: Tensor

    @cached_property
    def packed(self) -> tuple[Tensor, Tensor, Tensor]:
        """The grid as the native kernel reads it: a byte a cell, bits, and the box of what is not empty."""
        cells, _ = native.cells_of(self.grid)
        assert cells is not None
        return cells, *native.pack_cells(cells)


@dataclass(frozen=True)
class RaySamples:
    """N samples of R rays, ray after ray, front to back.

    On a card N is the most that there can be, since how many there are is known there alone: the rows from
    ray_offsets[-1] on are zeros and belong to no ray.

    Attributes:
        positions: (N, 3) in [0, 1], the box's units.
        distances: (N,) along the ray, in units of the direction's length.
        deltas: (N,) length that each sample stands for, same unit.
        ray_index: (N,) int32.
        ray_offsets: (R + 1,) int64.
    """

    positions: Tensor
    distances: Tensor
    deltas: Tensor
    ray_index: Tensor
    ray_offsets: Tensor


@torch.no_grad()
def sample_rays(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    samples: int,
    *,
    low: Tensor,
    high: Tensor,
    occupancy: Tensor | None = None,
    probes: int = 64,
    min_step: float = 0.0,
    seed: int = 0,
    step: int = 0,
    jitter: bool = True,
) -> RaySamples:
    """Spread samples evenly over the occupied part of each ray's interval.

    The interval [near, far] is cut to the box. With an occupancy grid it is probed in `probes` equal pieces, and the
    samples are spread over the occupied ones only, one in each of as many equal shares; a ray without any gets none.

    Cells may also only *back* others: a ray that meets occupied pieces is then sampled in its backing pieces too, as
    densely as its occupied ones by themselves ask for, with more than `samples` samples; a ray that meets backing
    alone gets none. So what lies hidden behind surfaces stays there for rays that come through, and neither coarsens
    the samples of the surface nor shows by itself.

    Args:
        origins, directions: (R, 3), in the space of the box.
        near, far: (R,) interval along the direction, for example from a rasterised hull; empty where far <= near.
        samples: the most samples of a ray.
        low, high: (3,) corners of the box that positions are relative to.
        occupancy: (G, G, G) over the box, indexed x, y, z: bool, or uint8 of 0 empty, 1 occupied and 3 backing; None
            takes the whole interval.
        probes: pieces of the interval that are looked up in the grid.
        min_step: give a ray only as many samples as keep their deltas above this; 0 always gives `samples`.
        seed, step: choose the jitter together with the ray's and the sample's number; nothing else does.
        jitter: place each sample at random in its share, or in its middle.
    Returns:
        RaySamples.
    Raises:
        ValueError: shapes do not fit.
    """
    if origins.shape != directions.shape or origins.shape[-1] != 3 or near.shape != origins.shape[:1]:
        raise ValueError(f"origins {tuple(origins.shape)}, directions {tuple(directions.shape)}, near {near.shape}")
    if samples < 1 or not 1 <= probes <= 1024:
        raise ValueError("a ray needs at least one sample, and 1 to 1024 probes")
    if occupancy is not None and (occupancy.ndim != 3 or len(set(occupancy.shape)) != 1):
        raise ValueError(f"an occupancy grid is a cube, not {tuple(occupancy.shape)}")
    backed = occupancy is not None and occupancy.dtype == torch.uint8  # the card's kernel knows occupied cells only
    if backend.is_triton(origins, directions, near, far) and not backed:
        from headavatar.ops.cuda import rays as cuda

        run = cuda.sample_rays
    else:
        run = native.sample_rays if backend.is_native(origins, directions, near, far) else reference.sample_rays
    low, high = (corner.to(origins, non_blocking=True) for corner in (low, high))
    return RaySamples(
        *run(origins, directions, near, far, samples, low, high, occupancy, probes, min_step, seed, step, jitter)
    )
