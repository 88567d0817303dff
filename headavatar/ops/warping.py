"""Points moved by a dense grid of displacements, one grid per frame."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from headavatar.ops.hashgrid import HashGridSpec, hash_encode

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
        values: (B, M, 3).
        nodes: a side.
        prior: the weight of a coarser grid's answer, in points.
    Returns:
        (B, nodes³ · 4), as `warp_points` takes them.
    Source: S. Gortler et al. 1996, The Lumigraph, section 3.4.
    """
    batch, count = pos.shape[:2]
    place = pos.clamp(0, 1) * (nodes - 2) + 0.5
    cell = place.floor()
    part = place - cell
    node = cell.long()
    start = node[..., 0] + nodes * (node[..., 1] + nodes * node[..., 2])
    start = start + torch.arange(batch, device=pos.device)[:, None] * nodes**3
    padded = torch.cat([values, torch.ones_like(values[..., :1])], -1)
    total = torch.zeros(batch * nodes**3, CHANNELS, device=pos.device)
    for corner in range(8):
        bits = [corner >> axis & 1 for axis in range(3)]
        weight = torch.stack([part[..., a] if bits[a] else 1 - part[..., a] for a in range(3)], -1).prod(-1)
        step = bits[0] + nodes * (bits[1] + nodes * bits[2])
        total.index_add_(0, (start + step).reshape(-1), (padded * weight[..., None]).reshape(-1, CHANNELS))
    grids = total.reshape(batch, nodes, nodes, nodes, CHANNELS).permute(0, 4, 1, 2, 3).contiguous()
    filled = _pulled(grids, prior)
    return torch.nn.functional.pad(filled, (0, 0, 0, 0, 0, 0, 0, 1)).permute(0, 2, 3, 4, 1).reshape(batch, -1)


def _pulled(grids: Tensor, prior: float) -> Tensor:
    """(B, 3, n, n, n) means of (B, 4, n, n, n) sums and their weights, with coarser means where weights are small."""
    sums, weights = grids[:, :3], grids[:, 3:]
    nodes = grids.shape[-1]
    if nodes <= 3:
        whole = grids.sum((2, 3, 4), keepdim=True)
        return (whole[:, :3] / whole[:, 3:].clamp_min(1e-9)).expand_as(sums)
    odd = nodes % 2
    even = torch.nn.functional.pad(grids, (0, odd) * 3)
    coarse = _pulled(torch.nn.functional.avg_pool3d(even, 2) * 8, prior)
    finer = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="trilinear", align_corners=False)
    return (sums + prior * finer[..., :nodes, :nodes, :nodes]) / (weights + prior)


def refine(coarse: Tensor, nodes: int) -> Tensor:
    """A coarse grid of displacements, read at the nodes of a finer one.

    Args:
        coarse: (B, n³ · 4).
        nodes: of the finer grid.
    Returns:
        (B, nodes³ · 4); carries gradients.
    """
    old = nodes_of(coarse)
    axis = ((torch.arange(nodes, device=coarse.device) - 0.5) / (nodes - 2)).clamp(0, 1) * (old - 2) + 0.5
    cell = axis.floor().long()
    matrix = torch.zeros(nodes, old, device=coarse.device)
    rows = torch.arange(nodes, device=coarse.device)
    matrix[rows, cell] = 1 - (axis - cell)
    matrix[rows, cell + 1] = axis - cell
    grid = coarse.reshape(-1, old, old, old, CHANNELS)
    for dim in (1, 2, 3):
        grid = torch.movedim(torch.movedim(grid, dim, -1) @ matrix.T, -1, dim)
    return grid.reshape(len(coarse), -1)
