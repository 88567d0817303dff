"""Points moved by a dense grid of displacements, one grid per frame."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.hashgrid import HashGridSpec, hash_encode
from headavatar.ops.native import warping as native
from headavatar.ops.reference import warping as reference

CHANNELS = 4
"""Values of a node: a displacement, and one that fills the vector."""


@cache
def warp_grid(nodes: int) -> HashGridSpec:
    """The layout of a grid of `nodes` nodes a side: dense, x fastest; node i lies at (i - 1/2) / (nodes - 2)."""
    spec = HashGridSpec(1, CHANNELS, 24, nodes - 1, nodes - 1)
    assert spec.is_dense(0) and spec.nodes[0] == nodes
    return spec


def warp_points(x: Tensor, warp: Tensor, frame_offsets: Tensor) -> Tensor:
    """Move points by what their frame's grid holds where they are.

    Args:
        x: (N, 3) points in [0, 1].
        warp: (B, nodes³ · 4) displacements, laid out as `warp_grid` says.
        frame_offsets: (B + 1,) int64: points frame_offsets[b] to frame_offsets[b + 1] use grid b.
    Returns:
        (N, 3) moved points; carries gradients to `warp`, and to `x` where it asks for them.
    """
    return x + hash_encode(x, warp, warp_grid(nodes_of(warp)), frame_offsets=frame_offsets)[:, :3]


def nodes_of(warp: Tensor) -> int:
    """Nodes a side of a grid of displacements.

    Raises:
        ValueError: it is not the grid of a cube.
    """
    nodes = round((warp.shape[-1] / CHANNELS) ** (1 / 3))
    if nodes < 3 or nodes**3 * CHANNELS != warp.shape[-1]:
        raise ValueError(f"{warp.shape[-1]} numbers are not a cube of displacements")
    return nodes


def spread(pos: Tensor, values: Tensor, nodes: int, prior: float = 0.1) -> Tensor:
    """Grids that take given values near given points and pass smoothly between them, everywhere.

    Values are splatted onto the finest grid; where few fell, coarser grids answer (push and pull).

    Args:
        pos: (B, M, 3) points in [0, 1]; what lies outside is clamped.
        values: (B, M, 3); where they or `pos` ask for gradients, plain torch answers.
        nodes: a side.
        prior: the weight of a coarser grid's answer, in points.
    Returns:
        (B, nodes³ · 4), as `warp_points` takes them.
    Source: S. Gortler et al. 1996, The Lumigraph, section 3.4.
    """
    wants_gradient = torch.is_grad_enabled() and (pos.requires_grad or values.requires_grad)
    answer = native.spread if backend.is_native(pos, values) and not wants_gradient else reference.spread
    return answer(pos, values, nodes, prior)


def refine(coarse: Tensor, nodes: int) -> Tensor:
    """A coarse grid of displacements, read at the nodes of a finer one.

    Args:
        coarse: (B, n³ · 4).
        nodes: of the finer grid.
    Returns:
        (B, nodes³ · 4); carries gradients.
    """
    answer = native.refine if backend.is_native(coarse) else reference.refine
    return answer(coarse, nodes_of(coarse), nodes)
