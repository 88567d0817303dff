"""Bilinear reading of maps in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_maps(maps: Tensor, uv: Tensor) -> Tensor:
    """`ops.sample_maps`: maps (H, W, C) at (N, 2)."""
    height, width, _ = maps.shape
    x = (uv[:, 0] * width - 0.5).clamp(0, width - 1)
    y = ((1 - uv[:, 1]) * height - 0.5).clamp(0, height - 1)
    with torch.no_grad():
        column = x.long().clamp_max(max(width - 2, 0))
        row = y.long().clamp_max(max(height - 2, 0))
        right, down = min(width - 1, 1), min(height - 1, 1) * width
    first = row * width + column
    texels = maps.flatten(0, 1)
    fx, fy = (x - column)[:, None], (y - row)[:, None]
    upper = texels[first] * (1 - fx) + texels[first + right] * fx
    lower = texels[first + down] * (1 - fx) + texels[first + down + right] * fx
    return upper * (1 - fy) + lower * fy
