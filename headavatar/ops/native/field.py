"""Bindings of field.cpp: the networks and the fused field."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.native.hashgrid import grid_args
from headavatar.ops.native.library import handle
from headavatar.ops.native.structs import FieldArgs, MlpArgs, address, net_args

if TYPE_CHECKING:
    from headavatar.ops.hashgrid import HashGridSpec


def _padded(rows: int) -> int:
    block = int(handle().ha_row_block())
    return -(-rows // block) * block


def _net_rows(weights: list[Tensor], extra: int = 0) -> int:
    """Rows of a tile that a network's activations take, as `Net` in nets.h counts them."""
    return sum(_padded(len(w)) for w in weights[:-1]) + _padded(len(weights[-1]) + extra)


def _tile() -> int:
    return int(handle().ha_tile())


def _keeps(*tensors: Tensor) -> bool:
    """Whether backward may follow; inside a Function `needs_input_grad` says so even under `no_grad`."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: bool, *weights: Tensor) -> Tensor:
        tiles, layers = -(-len(x) // _tile()), list(weights)
        rows = _padded(x.shape[1]) + _net_rows(layers)
        saved = torch.empty(tiles * rows * _tile()) if keep else None
        y = x.new_empty(len(x), len(weights[-1]))
        net, alive = net_args(layers, None)
        args = MlpArgs(address(x), address(y), None, address(saved), len(x), net)
        handle().ha_mlp_forward(ctypes.byref(args))
        del alive
        ctx.saved = saved
        ctx.save_for_backward(x, *weights)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grads = [torch.empty_like(w) for w in weights]
        net, alive = net_args(weights, grads)
        args = MlpArgs(address(x), address(grad), address(grad_x), address(ctx.saved), len(x), net)
        handle().ha_mlp_backward(ctypes.byref(args))
        del alive
        return grad_x, None, *grads


def fused_mlp(x: Tensor, weights: list[Tensor]) -> Tensor:
    """`ops.fused_mlp`."""
    y: Tensor = _Mlp.apply(x.contiguous(), _keeps(x, *weights), *(w.contiguous() for w in weights))
    return y


class _Field(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, table: Tensor, ray_features: Tensor, ray_index: Tensor, spec: HashGridSpec,
        offsets: list[int], shift: float, scale: float, keep: bool, sigma_layers: int, *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        sigma_weights, color_weights = list(weights[:sigma_layers]), list(weights[sigma_layers:])
        rows = _padded(spec.width) + _net_rows(sigma_weights, ray_features.shape[1]) + _net_rows(color_weights)
        ctx.tiles = sum(-(-(stop - start) // _tile()) for start, stop in zip(offsets[:-1], offsets[1:], strict=True))
        ctx.saved = torch.empty(ctx.tiles * rows * _tile()) if keep else None
        ctx.settings = (spec, shift, scale, sigma_layers)
        frame_offsets = torch.tensor(offsets)
        sigma, rgb = x.new_empty(len(x)), x.new_empty(len(x), 3)
        sigma_net, sigma_alive = net_args(sigma_weights, None)
        color_net, color_alive = net_args(color_weights, None)
        args = FieldArgs(
            grid_args(spec, x, table, frame_offsets), address(ray_features), address(ray_index), address(sigma),
            address(rgb), None, None, address(ctx.saved), None, ray_features.shape[1], sigma_net, color_net, shift,
            scale,
        )  # fmt: skip
        handle().ha_field_forward(ctypes.byref(args))
        del sigma_alive, color_alive
        ctx.save_for_backward(x, table, ray_features, ray_index, frame_offsets, *weights)
        return sigma, rgb

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_sigma: Tensor, grad_rgb: Tensor) -> tuple[Tensor | None, ...]:
        x, table, ray_features, ray_index, frame_offsets, *weights = ctx.saved_tensors
        spec, shift, scale, sigma_layers = ctx.settings
        grad_sigma, grad_rgb = grad_sigma.contiguous(), grad_rgb.contiguous()
        grads: list[Tensor] | None = None
        if any(ctx.needs_input_grad[10:]):
            grads = [torch.empty_like(w) for w in weights]
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_table = torch.empty_like(table) if ctx.needs_input_grad[1] else None
        grad_tiles = None if grad_table is None else torch.empty(ctx.tiles * spec.width * _tile())
        grid = grid_args(spec, x, table, frame_offsets)
        grid.grad_table, grid.grad_x = address(grad_table), address(grad_x)
        sigma_net, sigma_alive = net_args(weights[:sigma_layers], None if grads is None else grads[:sigma_layers])
        color_net, color_alive = net_args(weights[sigma_layers:], None if grads is None else grads[sigma_layers:])
        args = FieldArgs(
            grid, address(ray_features), address(ray_index), None, None, address(grad_sigma), address(grad_rgb),
            address(ctx.saved), address(grad_tiles), ray_features.shape[1], sigma_net, color_net, shift, scale,
        )  # fmt: skip
        handle().ha_field_backward(ctypes.byref(args))
        del sigma_alive, color_alive
        return grad_x, grad_table, *[None] * 8, *([None] * len(weights) if grads is None else grads)


def nerf_field(
    x: Tensor,
    table: Tensor,
    ray_features: Tensor,
    ray_index: Tensor,
    sigma_weights: list[Tensor],
    color_weights: list[Tensor],
    spec: HashGridSpec,
    offsets: list[int],
    density_shift: float,
    density_scale: float,
) -> tuple[Tensor, Tensor]:
    """`ops.nerf_field` with the table as (B, P).

    Raises:
        ValueError: a ray index is out of range, which would read foreign memory.
    """
    if len(ray_index) and not (int(ray_index.min()) >= 0 and int(ray_index.max()) < len(ray_features)):
        raise ValueError(f"ray_index points outside the {len(ray_features)} rays")
    result: tuple[Tensor, Tensor] = _Field.apply(
        x.contiguous(), table.contiguous(), ray_features.contiguous(), ray_index.to(torch.int32).contiguous(), spec,
        offsets, density_shift, density_scale, _keeps(x, table, *sigma_weights, *color_weights), len(sigma_weights),
        *(w.contiguous() for w in (*sigma_weights, *color_weights)),
    )  # fmt: skip
    return result
