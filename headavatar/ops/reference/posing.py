"""A posed shape before a camera, in torch."""

from __future__ import annotations

import torch
from torch import Tensor


def pose(
    rest: Tensor, bases: Tensor, weights: Tensor, coefficients: Tensor, turns: Tensor, pivots: Tensor, view: Tensor,
    projection: Tensor, offset: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`ops.pose_shape`."""
    points = rest + torch.einsum("k,kvc->vc", coefficients, bases)
    if offset is not None:
        points = points + offset
    for joint, (turn, pivot) in enumerate(zip(turns, pivots, strict=True)):
        around = points - pivot
        points = points + weights[:, joint, None] * (around @ turn.T - around)
    points = points @ view[:, :3].T + view[:, 3]
    depth = points[:, 2:]
    # Behind the camera depth is kept: the rasterizer cuts faces there itself.
    safe = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
    return points, torch.cat([points @ projection.T / safe, depth], 1)
