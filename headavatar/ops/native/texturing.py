"""Bindings of texturing.cpp."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.native.library import handle, pointer, size


class _SampleMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, uv: Tensor) -> Tensor:
        values = torch.empty(len(uv), maps.shape[2])
        handle().ha_sample_maps(
            pointer(maps), pointer(uv), size(len(uv)), *(size(n) for n in maps.shape), pointer(values)
        )
        ctx.save_for_backward(maps, uv)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        maps, uv = ctx.saved_tensors
        grad = grad.contiguous()
        grad_maps = torch.empty_like(maps) if ctx.needs_input_grad[0] else None
        grad_uv = torch.empty_like(uv) if ctx.needs_input_grad[1] else None
        handle().ha_sample_maps_backward(
            pointer(maps), pointer(uv), pointer(grad), size(len(uv)), *(size(n) for n in maps.shape),
            pointer(grad_maps), pointer(grad_uv),
        )  # fmt: skip
        return grad_maps, grad_uv


def sample_maps(maps: Tensor, uv: Tensor) -> Tensor:
    """`ops.sample_maps` on (H, W, C) maps and (N, 2) places."""
    values: Tensor = _SampleMaps.apply(maps.contiguous(), uv.contiguous())
    return values
