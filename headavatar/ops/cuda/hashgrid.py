"""Launches the hash grid's kernels."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.cuda.kernels import grid

if TYPE_CHECKING:
    from headavatar.ops.hashgrid import HashGridSpec

BLOCK = 128


@lru_cache(maxsize=32)
def _layout(spec: HashGridSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Scales (levels,) and, per level, nodes a side, first entry and whether it is hashed."""
    rows = [
        (spec.nodes[level], spec.offsets[level], 0 if spec.is_dense(level) else 1) for level in range(spec.levels)
    ]  # fmt: skip
    scales = torch.tensor(spec.scales, dtype=torch.float32)
    return scales.to(device, non_blocking=True), torch.tensor(rows, dtype=torch.int32).to(device, non_blocking=True)


def _launch(
    kernel: Any, x: Tensor, spec: HashGridSpec, starts: Tensor, tensors: tuple[Tensor, ...], output: Tensor,
    by_level: bool,
) -> None:  # fmt: skip
    if len(x) == 0:
        return
    scales, layout = _layout(spec, x.device)
    shape = (triton.cdiv(len(x), BLOCK), spec.levels) if by_level else (triton.cdiv(len(x), BLOCK),)
    kernel[shape](
        x, *tensors, starts, scales, layout, output, len(starts) - 1, spec.parameters, spec.levels,
        (1 << spec.log2_table) - 1, F=spec.features, FEATURES=triton.next_power_of_2(spec.features), BLOCK=BLOCK,
    )  # fmt: skip


def encode(x: Tensor, table: Tensor, spec: HashGridSpec, starts: Tensor) -> Tensor:
    """Points (N, 3), tables (B, P): (N, width), without gradients; rows that belong to no frame are 0."""
    encoded = x.new_zeros(len(x), spec.width)
    _launch(grid.grid_forward, x, spec, starts, (table,), encoded, True)
    return encoded


def encode_backward(x: Tensor, shape: torch.Size, spec: HashGridSpec, starts: Tensor, grad: Tensor) -> Tensor:
    """The gradient of `encode` to the tables, which have this shape."""
    grad_table = grad.new_zeros(shape)
    _launch(grid.grid_backward_table, x, spec, starts, (grad,), grad_table, True)
    return grad_table


def encode_backward_points(x: Tensor, table: Tensor, spec: HashGridSpec, starts: Tensor, grad: Tensor) -> Tensor:
    """The gradient of `encode` to the points, 0 outside the box."""
    grad_x = torch.zeros_like(x)
    _launch(grid.grid_backward_points, x, spec, starts, (table, grad), grad_x, False)
    return grad_x


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, spec: HashGridSpec, starts: Tensor) -> Tensor:
        ctx.save_for_backward(x, table, starts)
        ctx.spec = spec
        return encode(x, table, spec, starts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, table, starts = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad_table = None
        if ctx.needs_input_grad[0]:
            grad_x = encode_backward_points(x, table, ctx.spec, starts, grad)
        if ctx.needs_input_grad[1]:
            grad_table = encode_backward(x, table.shape, ctx.spec, starts, grad)
        return grad_x, grad_table, None, None


def hash_encode(x: Tensor, table: Tensor, spec: HashGridSpec, starts: Tensor) -> Tensor:
    """Points (N, 3) cut into B frames by starts (B + 1,) int64, tables (B, P): (N, width)."""
    encoded: Tensor = _Encode.apply(x.contiguous(), table.contiguous(), spec, starts)
    return encoded
