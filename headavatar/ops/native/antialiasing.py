"""Bindings of antialias.cpp."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops.native.library import handle, pointer, size


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, picture: Tensor, face_index: Tensor, depth: Tensor, vertices: Tensor, faces: Tensor, twins: Tensor
    ) -> Tensor:
        frames, height, width, channels = picture.shape
        weights = torch.empty(frames, height, width, 2)
        edges = torch.empty(frames, height, width, 2, dtype=torch.int32)
        handle().ha_find_silhouettes(
            pointer(face_index), pointer(depth), pointer(vertices), pointer(faces), pointer(twins), size(frames),
            size(vertices.shape[1]), size(height), size(width), pointer(weights), pointer(edges),
        )  # fmt: skip
        blended = torch.empty_like(picture)
        handle().ha_antialias(
            pointer(picture), pointer(weights), pointer(edges), size(frames), size(height), size(width),
            size(channels), pointer(blended),
        )  # fmt: skip
        ctx.save_for_backward(picture, weights, edges, vertices, faces)
        return blended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        picture, weights, edges, vertices, faces = ctx.saved_tensors
        frames, height, width, channels = picture.shape
        grad = grad.contiguous()
        grad_picture = torch.empty_like(picture) if ctx.needs_input_grad[0] else None
        grad_vertices = torch.empty_like(vertices) if ctx.needs_input_grad[3] else None
        handle().ha_antialias_backward(
            pointer(picture), pointer(weights), pointer(edges), pointer(grad), pointer(vertices), pointer(faces),
            size(frames), size(vertices.shape[1]), size(height), size(width), size(channels), pointer(grad_picture),
            pointer(grad_vertices),
        )  # fmt: skip
        return grad_picture, None, None, grad_vertices, None, None


def antialias(
    picture: Tensor, face_index: Tensor, depth: Tensor, vertices: Tensor, faces: Tensor, twins: Tensor
) -> Tensor:
    """`ops.antialias` on batches, with faces and twins of the topology."""
    blended: Tensor = _Antialias.apply(
        picture.contiguous(), face_index.contiguous(), depth.contiguous(), vertices.contiguous(), faces, twins
    )
    return blended
