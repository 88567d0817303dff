"""Binding of distortion.cpp."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.native.library import handle, pointer, size


class _Distortion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, optical: Tensor, distances: Tensor, deltas: Tensor, offsets: Tensor) -> Tensor:
        spread, grad = optical.new_empty(len(offsets) - 1), torch.empty_like(optical)
        handle().ha_distortion(
            pointer(optical), pointer(distances), pointer(deltas), pointer(offsets), size(len(offsets) - 1),
            pointer(spread), pointer(grad),
        )  # fmt: skip
        ctx.save_for_backward(grad, offsets)
        return spread

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spread: Tensor) -> tuple[Tensor | None, ...]:
        grad, offsets = ctx.saved_tensors
        return grad * torch.repeat_interleave(grad_spread, offsets.diff()), None, None, None


def distortion(optical: Tensor, distances: Tensor, deltas: Tensor, ray_offsets: Tensor) -> Tensor:
    """`ops.distortion`: (R,).

    Raises:
        ValueError: the offsets do not cut the samples into rays, which would read foreign memory.
    """
    offsets = ray_offsets.long().contiguous()
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(optical) or bool((offsets.diff() < 0).any()):
        raise ValueError(f"ray_offsets do not rise from 0 to {len(optical)}")
    spread: Tensor = _Distortion.apply(optical.contiguous(), distances.contiguous(), deltas.contiguous(), offsets)
    return spread
