"""Launches the kernels on tables."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.cuda.kernels import tables as kernels

BLOCK = 1024


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, tables: Tensor) -> Tensor:
        (frames, count), size = weights.shape, tables.shape[1]
        padded = triton.next_power_of_2(frames)
        block = max(64, BLOCK // padded)
        blended = tables.new_empty(frames, size)
        kernels.blend[(triton.cdiv(size, block),)](
            weights, tables, blended, size, count, frames, FRAMES=padded, BLOCK=block
        )
        ctx.save_for_backward(weights, tables)
        return blended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        weights, tables = ctx.saved_tensors
        grad_weights = grad @ tables.T if ctx.needs_input_grad[0] else None
        grad_tables = weights.T @ grad if ctx.needs_input_grad[1] else None
        return grad_weights, grad_tables


def blend_tables(weights: Tensor, tables: Tensor) -> Tensor:
    """(B, K) weights of (K, P) tables: (B, P)."""
    blended: Tensor = _Blend.apply(weights.contiguous(), tables.contiguous())
    return blended


def adam(
    tables: Tensor,
    first: Tensor,
    second: Tensor,
    coefficients: Tensor,
    gradients: list[Tensor],
    l1: Tensor,
    steps: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """One step on (K, P) tables in place; coefficients (J, K), J gradients of (P,)."""
    count, size = tables.shape
    half = first.dtype == torch.bfloat16
    if half:
        first, second = first.view(torch.int16), second.view(torch.int16)
    padded = triton.next_power_of_2(len(gradients))
    block = max(64, BLOCK // padded)
    kernels.adam[(triton.cdiv(size, block),)](
        tables, first, second, coefficients.contiguous(), _one_block(gradients), l1, size, count, len(gradients),
        lr / (1 - betas[0] ** steps), 1 / (1 - betas[1] ** steps) ** 0.5, *betas, eps, TERMS=padded, HALF=half,
        BLOCK=block,
    )  # fmt: skip


def _one_block(gradients: list[Tensor]) -> Tensor:
    """Gradients (P,) as (J, P), without a copy where they already lie one after the other."""
    first, size = gradients[0], len(gradients[0])
    beside = all(
        g.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and g.storage_offset() == first.storage_offset() + j * size
        for j, g in enumerate(gradients)
    )
    return first.as_strided((len(gradients), size), (size, 1)) if beside else torch.stack(gradients)
