"""Bindings of raster.cpp."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.native.library import handle, pointer, size


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, vertices: Tensor, faces: Tensor, height: int, width: int, layers: int, near: float, cull: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        frames, vertex_count = vertices.shape[:2]
        face_index = torch.empty(frames, layers, height, width, dtype=torch.int32)
        bary = torch.empty(frames, layers, height, width, 3)
        depth = torch.empty(frames, layers, height, width)
        handle().ha_rasterize(
            pointer(vertices), pointer(faces), size(frames), size(vertex_count), size(len(faces)), size(height),
            size(width), size(layers), ctypes.c_double(near), ctypes.c_int(cull), pointer(face_index), pointer(bary),
            pointer(depth),
        )  # fmt: skip
        ctx.save_for_backward(vertices, faces, face_index)
        ctx.mark_non_differentiable(face_index)
        return face_index, bary, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor, grad_bary: Tensor, grad_depth: Tensor) -> tuple[Tensor | None, ...]:
        vertices, faces, face_index = ctx.saved_tensors
        grad = torch.empty_like(vertices)
        frames, layers, height, width = face_index.shape
        grad_bary, grad_depth = grad_bary.contiguous(), grad_depth.contiguous()
        handle().ha_rasterize_backward(
            pointer(vertices), pointer(faces), pointer(face_index), pointer(grad_bary), pointer(grad_depth),
            size(frames), size(vertices.shape[1]), size(height), size(width), size(layers), pointer(grad),
        )  # fmt: skip
        return grad, None, None, None, None, None, None


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attributes: Tensor, faces: Tensor, face_index: Tensor, bary: Tensor) -> Tensor:
        picture = torch.empty(*face_index.shape, attributes.shape[-1])
        handle().ha_interpolate(
            pointer(attributes), size(_stride(attributes)), pointer(faces), pointer(face_index), pointer(bary),
            size(len(face_index)), size(face_index[0].numel()), size(attributes.shape[-1]), pointer(picture),
        )  # fmt: skip
        ctx.save_for_backward(attributes, faces, face_index, bary)
        return picture

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        attributes, faces, face_index, bary = ctx.saved_tensors
        grad = grad.contiguous()
        grad_attributes = torch.empty_like(attributes) if ctx.needs_input_grad[0] else None
        grad_bary = torch.empty_like(bary) if ctx.needs_input_grad[3] else None
        handle().ha_interpolate_backward(
            pointer(attributes), size(_stride(attributes)), pointer(faces), pointer(face_index), pointer(bary),
            pointer(grad), size(len(face_index)), size(face_index[0].numel()), size(attributes.shape[-1]),
            size(attributes.shape[-2]), pointer(grad_attributes), pointer(grad_bary),
        )  # fmt: skip
        return grad_attributes, None, None, grad_bary


def _stride(attributes: Tensor) -> int:
    return attributes[0].numel() if attributes.ndim == 3 else 0


def _indices(faces: Tensor, vertex_count: int) -> Tensor:
    """Faces as the kernels want them; an index out of range would read foreign memory, so it is refused here."""
    if faces.numel() and not (int(faces.min()) >= 0 and int(faces.max()) < vertex_count):
        raise ValueError(f"faces point outside the {vertex_count} vertices")
    return faces.to(torch.int32).contiguous()


def rasterize(
    vertices: Tensor, faces: Tensor, height: int, width: int, layers: int, near: float, cull: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """`ops.rasterize` on (B, V, 3) vertices: face_index (B, K, H, W), bary (B, K, H, W, 3), depth (B, K, H, W)."""
    indices = _indices(faces, vertices.shape[1])
    result: tuple[Tensor, Tensor, Tensor] = _Rasterize.apply(
        vertices.contiguous(), indices, height, width, layers, float(near), cull
    )
    return result


def interpolate(attributes: Tensor, faces: Tensor, face_index: Tensor, bary: Tensor) -> Tensor:
    """`ops.interpolate` on (V, C) or (B, V, C) attributes: (B, H, W, C)."""
    indices = _indices(faces, attributes.shape[-2])
    picture: Tensor = _Interpolate.apply(attributes.contiguous(), indices, face_index.contiguous(), bary.contiguous())
    return picture
