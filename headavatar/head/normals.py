"""Normals of a mesh's vertices."""

from __future__ import annotations

import torch
from torch import Tensor


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals, the faces' weighed by area; outward for counter-clockwise faces, 0 where a vertex has no face.

    Args:
        vertices: (..., V, 3).
        faces: (F, 3).
    Returns:
        (..., V, 3); carries gradients.
    """
    a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
    flat = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.index_add(-2, faces[:, k], flat)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-15)
