"""Bindings of picture.cpp."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from headavatar.ops.native.library import handle, pointer, size


def pixel_rays(turn: Tensor, left: int, top: int, columns: int, rows: int) -> tuple[Tensor, Tensor]:
    """`ops.pixel_rays`."""
    turn = turn.contiguous()
    directions, lengths = torch.empty(rows, columns, 3), torch.empty(rows, columns)
    handle().ha_pixel_rays(
        pointer(turn), size(left), size(top), size(columns), size(rows), pointer(directions), pointer(lengths)
    )
    return directions, lengths


def lay_over(
    rgb: Tensor, alpha: Tensor, depth: Tensor, lengths: Tensor, background: Tensor, unit: float, faint: float,
    left: int, top: int, out: tuple[Tensor, Tensor, Tensor],
) -> None:  # fmt: skip
    """`ops.lay_over`."""
    rgb, alpha, depth, lengths = (t.contiguous() for t in (rgb, alpha, depth, lengths))
    rows, columns = lengths.shape
    corner = [t[top:, left:] for t in out]
    handle().ha_lay_over(
        pointer(rgb), pointer(alpha), pointer(depth), pointer(lengths), size(columns), size(rows),
        pointer(background.contiguous()), ctypes.c_float(unit), ctypes.c_float(faint), size(out[1].shape[1]),
        *(ctypes.c_void_p(t.data_ptr()) for t in corner),
    )  # fmt: skip
