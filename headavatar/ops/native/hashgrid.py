"""Bindings of grid.cpp and of the blending in tables.cpp."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.native.library import handle
from headavatar.ops.native.structs import BlendArgs, GridArgs, address

if TYPE_CHECKING:
    from headavatar.ops.hashgrid import HashGridSpec

FEATURES = (1, 2, 4, 8)
"""Features per entry that the kernels are compiled for."""


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, tables: Tensor) -> Tensor:
        blended = weights.new_empty(len(weights), tables.shape[1])
        args = BlendArgs(
            address(weights), address(tables), address(blended), None, None, *_sizes(weights, tables),
            tables.dtype == torch.bfloat16,
        )  # fmt: skip
        handle().ha_blend_forward(ctypes.byref(args))
        ctx.save_for_backward(weights, tables)
        return blended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        weights, tables = ctx.saved_tensors
        grad = grad.contiguous()
        grad_weights = torch.empty_like(weights) if ctx.needs_input_grad[0] else None
        grad_tables = torch.empty_like(tables) if ctx.needs_input_grad[1] else None
        args = BlendArgs(
            address(weights), address(tables), address(grad), address(grad_weights), address(grad_tables),
            *_sizes(weights, tables),
        )  # fmt: skip
        handle().ha_blend_backward(ctypes.byref(args))
        return grad_weights, grad_tables


def _sizes(weights: Tensor, tables: Tensor) -> tuple[int, int, int]:
    return len(weights), len(tables), tables.shape[1]


def blend_tables(weights: Tensor, tables: Tensor) -> Tensor:
    """(B, K) weights of (K, P) tables: (B, P)."""
    blended: Tensor = _Blend.apply(weights.contiguous(), tables.contiguous())
    return blended


@lru_cache(maxsize=32)
def _layout(spec: HashGridSpec) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.tensor(spec.scales, dtype=torch.float32),
        torch.tensor(spec.nodes, dtype=torch.int32),
        torch.tensor(spec.offsets, dtype=torch.int64),
    )


def grid_args(spec: HashGridSpec, x: Tensor, table: Tensor, frame_offsets: Tensor | None) -> GridArgs:
    """Arguments of a grid call without its outputs; the tensors must outlive the call."""
    scales, nodes, offsets = _layout(spec)
    return GridArgs(
        address(x), address(table), None, None, None, address(frame_offsets), address(scales), address(nodes),
        address(offsets), len(table), spec.levels, spec.features, spec.log2_table,
    )  # fmt: skip


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, spec: HashGridSpec, frame_offsets: Tensor) -> Tensor:
        encoded = x.new_empty(len(x), spec.width)
        args = grid_args(spec, x, table, frame_offsets)
        args.encoded = address(encoded)
        handle().ha_grid_forward(ctypes.byref(args))
        ctx.save_for_backward(x, table, frame_offsets)
        ctx.spec = spec
        return encoded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, table, frame_offsets = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_table = torch.empty_like(table) if ctx.needs_input_grad[1] else None
        args = grid_args(ctx.spec, x, table, frame_offsets)
        args.encoded, args.grad_table, args.grad_x = address(grad), address(grad_table), address(grad_x)
        handle().ha_grid_backward(ctypes.byref(args))
        return grad_x, grad_table, None, None


def hash_encode(x: Tensor, table: Tensor, spec: HashGridSpec, offsets: list[int]) -> Tensor:
    """Points (N, 3) cut into B frames, tables (B, P): (N, levels * features)."""
    encoded: Tensor = _Encode.apply(x.contiguous(), table.contiguous(), spec, torch.tensor(offsets))
    return encoded
