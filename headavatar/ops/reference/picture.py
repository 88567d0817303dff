"""Rays of a picture's pixels, and their colors over a background, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_rays(turn: Tensor, left: int, top: int, columns: int, rows: int) -> tuple[Tensor, Tensor]:
    """`ops.pixel_rays`."""
    u = torch.arange(left, left + columns, device=turn.device, dtype=turn.dtype) + 0.5
    v = torch.arange(top, top + rows, device=turn.device, dtype=turn.dtype) + 0.5
    # Axis by axis, since torch is slow along axes of three.
    axes = [u * turn[axis, 0] + (v * turn[axis, 1] + turn[axis, 2])[:, None] for axis in range(3)]
    length = (axes[0] ** 2).addcmul_(axes[1], axes[1]).addcmul_(axes[2], axes[2]).sqrt_()
    return torch.stack([axis / length for axis in axes], -1), length


def lay_over(
    rgb: Tensor, alpha: Tensor, depth: Tensor, lengths: Tensor, background: Tensor, unit: float, faint: float,
    left: int, top: int, out: tuple[Tensor, Tensor, Tensor],
) -> None:  # fmt: skip
    """`ops.lay_over`."""
    rows, columns = lengths.shape
    part = slice(top, top + rows), slice(left, left + columns)
    opacity, distance = alpha.reshape(rows, columns), depth.reshape(rows, columns)
    clear = (1 - opacity)[..., None]
    out[0][part] = torch.addcmul(rgb.reshape(rows, columns, 3), clear, background).clamp_(0, 1)
    out[1][part] = opacity
    out[2][part] = torch.where(opacity > faint, distance / opacity.clamp_min(1e-6) * unit / lengths, 0.0)
