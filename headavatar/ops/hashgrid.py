"""The multiresolution hash grid, and tables blended per frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.native import hashgrid as native
from headavatar.ops.reference import hashgrid as reference


@dataclass(frozen=True)
class HashGridSpec:
    """Size and layout of a hash grid.

    Level l has `base * growth**l` cells a side, laid out dense where its nodes fit the table, hashed where they don't.
    A point x in [0, 1]^3 lies at `x * scale + 0.5` in node units. A table is one flat vector, level after level, entry
    after entry, the features of an entry side by side.

    Attributes:
        levels: number of levels.
        features: features per level; the native kernels know 1, 2, 4 and 8, others run on the reference.
        log2_table: the most entries that a level has, as a power of two.
        base_resolution, finest_resolution: cells a side of the first and the last level.
    Source:
        T. Müller et al. 2022, "Instant Neural Graphics Primitives", section 3.
    """

    levels: int = 16
    features: int = 2
    log2_table: int = 14
    base_resolution: int = 16
    finest_resolution: int = 512

    def __post_init__(self) -> None:
        if min(self.levels, self.features, self.base_resolution) < 1 or not 1 <= self.log2_table <= 24:
            raise ValueError(f"not a hash grid: {self}")
        if self.finest_resolution < self.base_resolution:
            raise ValueError("the finest level must not be coarser than the first")

    @cached_property
    def scales(self) -> tuple[float, ...]:
        """Per level, node units per unit of x."""
        steps = max(self.levels - 1, 1)
        growth = math.exp(math.log(self.finest_resolution / self.base_resolution) / steps)
        return tuple(round(self.base_resolution * growth**level - 1, 6) for level in range(self.levels))

    @cached_property
    def nodes(self) -> tuple[int, ...]:
        """Per level, nodes a side of the dense layout."""
        return tuple(math.ceil(scale) + 2 for scale in self.scales)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """(levels + 1) first entry of each level; the last is the number of entries."""
        offsets = [0]
        for nodes in self.nodes:
            offsets.append(offsets[-1] + min(nodes**3, 1 << self.log2_table))
        return tuple(offsets)

    @property
    def entries(self) -> int:
        return self.offsets[-1]

    @property
    def parameters(self) -> int:
        """P: length of a table."""
        return self.entries * self.features

    @property
    def width(self) -> int:
        """Length of an encoded point: levels * features."""
        return self.levels * self.features

    def is_dense(self, level: int) -> bool:
        return self.nodes[level] ** 3 <= 1 << self.log2_table


def blend_tables(weights: Tensor, tables: Tensor) -> Tensor:
    """Blend K tables into one, or one per frame.

    Args:
        weights: (K,) or (B, K) coefficients.
        tables: (K, P); also bfloat16, which is half as long to read, where nothing is trained.
    Returns:
        (P,) or (B, P): weights @ tables; carries gradients to both. The gradient to `tables` is as large as they are:
        to train them, blend `tables.detach()` and hand the blended table's gradient to `RankOneAdam`.
    Raises:
        ValueError: shapes do not fit, or gradients are asked of 16-bit tables.
    """
    if tables.ndim != 2 or weights.ndim not in (1, 2) or weights.shape[-1] != len(tables):
        raise ValueError(f"weights {tuple(weights.shape)} do not fit tables {tuple(tables.shape)}")
    batch = weights if weights.ndim == 2 else weights[None]
    short = tables.dtype == torch.bfloat16
    if short and (weights.requires_grad or tables.requires_grad):
        raise ValueError("tables of 16-bit numbers have no gradients")
    if short and not (tables.device.type == "cpu" and backend.is_native(weights)):
        tables, short = tables.to(weights.dtype), False
    if backend.is_triton(weights, tables):
        from headavatar.ops.cuda import tables as cuda

        blend = cuda.blend_tables
    else:
        blend = native.blend_tables if short or backend.is_native(weights, tables) else reference.blend_tables
    blended = blend(batch, tables)
    return blended if weights.ndim == 2 else blended[0]


def hash_encode(x: Tensor, table: Tensor, spec: HashGridSpec, *, frame_offsets: Tensor | None = None) -> Tensor:
    """Look points up in a hash grid, trilinearly.

    Args:
        x: (N, 3) points in [0, 1]; values outside are clamped.
        table: (P,), or (B, P) with `frame_offsets`.
        spec: the grid's layout.
        frame_offsets: (B + 1,) int64: points frame_offsets[b] to frame_offsets[b + 1] use table b. On a card the
            last one may be less than N: what lies behind it is encoded as zeros.
    Returns:
        (N, levels * features); carries gradients to `table` and `x`.
    Raises:
        ValueError: shapes do not fit.
    """
    batch = batch_of(x, table, spec, frame_offsets)
    if backend.is_triton(x, batch):
        from headavatar.ops.cuda import hashgrid as cuda

        return cuda.hash_encode(x, batch, spec, starts_of(x, batch, frame_offsets))
    encode = native.hash_encode if runs_native(spec, x, table) else reference.hash_encode
    return encode(x, batch, spec, frames_of(x, batch, frame_offsets))


def runs_native(spec: HashGridSpec, *tensors: Tensor) -> bool:
    """Whether the native kernels take these tensors and were compiled for the grid's number of features."""
    return spec.features in native.FEATURES and backend.is_native(*tensors)


def batch_of(x: Tensor, table: Tensor, spec: HashGridSpec, frame_offsets: Tensor | None) -> Tensor:
    """The table as (B, P), its shape checked against the points' and the offsets'."""
    if x.ndim != 2 or x.shape[1] != 3:
        raise ValueError(f"points {tuple(x.shape)} are not (N, 3)")
    if table.shape[-1] != spec.parameters:
        raise ValueError(f"a table of {table.shape[-1]} parameters for a grid of {spec.parameters}")
    batch = table if table.ndim == 2 else table[None]
    if (2 if frame_offsets is None else len(frame_offsets)) != len(batch) + 1:
        raise ValueError(f"{len(batch)} tables for frame_offsets {frame_offsets}")
    return batch


def frames_of(x: Tensor, batch: Tensor, frame_offsets: Tensor | None) -> list[int]:
    """The frames' borders in x, checked."""
    offsets = [0, len(x)] if frame_offsets is None else [int(k) for k in frame_offsets.tolist()]
    if offsets[0] != 0 or offsets[-1] != len(x) or sorted(offsets) != offsets:
        raise ValueError(f"frame_offsets {offsets} do not cut {len(x)} points into {len(batch)} frames")
    return offsets


def starts_of(x: Tensor, batch: Tensor, frame_offsets: Tensor | None) -> Tensor:
    """The frames' borders as the card's kernels take them: there, and unread, since reading them would wait for it."""
    if frame_offsets is None:
        # Two numbers made on the card: 0 and the number of points.
        return torch.arange(0, 2 * max(len(x), 1), max(len(x), 1), device=x.device)
    if frame_offsets.device.type == "cpu" != x.device.type:
        frames_of(x, batch, frame_offsets)
    return frame_offsets.to(x.device, torch.int64, non_blocking=True)
