"""Grids of displacements in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def spread(pos: Tensor, values: Tensor, nodes: int, prior: float) -> Tensor:
    """Values (B, M, 3) at points (B, M, 3) on grids (B, nodes³ · 4)."""
    batch = len(pos)
    place = pos.clamp(0, 1) * (nodes - 2) + 0.5
    cell = place.floor()
    part = place - cell
    node = cell.long()
    start = node[..., 0] + nodes * (node[..., 1] + nodes * node[..., 2])
    start = start + torch.arange(batch, device=pos.device)[:, None] * nodes**3
    padded = torch.cat([values, torch.ones_like(values[..., :1])], -1)
    total = torch.zeros(batch * nodes**3, 4, device=pos.device)
    for corner in range(8):
        bits = [corner >> axis & 1 for axis in range(3)]
        weight = torch.stack([part[..., a] if bits[a] else 1 - part[..., a] for a in range(3)], -1).prod(-1)
        step = bits[0] + nodes * (bits[1] + nodes * bits[2])
        total.index_add_(0, (start + step).reshape(-1), (padded * weight[..., None]).reshape(-1, 4))
    grids = total.reshape(batch, nodes, nodes, nodes, 4).permute(0, 4, 1, 2, 3).contiguous()
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


def refine(coarse: Tensor, old: int, nodes: int) -> Tensor:
    """Grids (B, old³ · 4) read at the nodes of (B, nodes³ · 4)."""
    axis = ((torch.arange(nodes, device=coarse.device) - 0.5) / (nodes - 2)).clamp(0, 1) * (old - 2) + 0.5
    cell = axis.floor().long()
    matrix = torch.zeros(nodes, old, device=coarse.device)
    rows = torch.arange(nodes, device=coarse.device)
    matrix[rows, cell] = 1 - (axis - cell)
    matrix[rows, cell + 1] = axis - cell
    grid = coarse.reshape(-1, old, old, old, 4)
    for dim in (1, 2, 3):
        grid = torch.movedim(torch.movedim(grid, dim, -1) @ matrix.T, -1, dim)
    return grid.reshape(len(coarse), -1)
