"""Bindings of warping.cpp: grids of displacements."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.native.library import handle, pointer, size


def spread(pos: Tensor, values: Tensor, nodes: int, prior: float) -> Tensor:
    """Values (B, M, 3) at points (B, M, 3) on grids (B, nodes³ · 4), without gradients."""
    pos, values = pos.detach().contiguous(), values.detach().contiguous()
    grids = torch.empty(len(pos), nodes**3 * 4)
    handle().ha_spread(
        pointer(pos), pointer(values), size(len(pos)), size(pos.shape[1]), size(nodes), ctypes.c_double(prior),
        pointer(grids),
    )  # fmt: skip
    return grids


class _Refine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, coarse: Tensor, old: int, nodes: int) -> Tensor:
        fine = torch.empty(len(coarse), nodes**3 * 4)
        handle().ha_refine(pointer(coarse), size(len(coarse)), size(old), size(nodes), pointer(fine))
        ctx.sides = old, nodes
        return fine

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        old, nodes = ctx.sides
        grad = grad.contiguous()
        coarse = torch.empty(len(grad), old**3 * 4)
        handle().ha_refine_backward(pointer(grad), size(len(grad)), size(old), size(nodes), pointer(coarse))
        return coarse, None, None


def refine(coarse: Tensor, old: int, nodes: int) -> Tensor:
    """Grids (B, old³ · 4) read at the nodes of (B, nodes³ · 4); carries gradients."""
    fine: Tensor = _Refine.apply(coarse.contiguous(), old, nodes)
    return fine
