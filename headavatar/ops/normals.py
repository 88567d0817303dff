"""Normals of a mesh's vertices."""

from __future__ import annotations

import torch
from torch import Tensor


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals, the faces' weighed by area; outward for counter-clockwise faces, 0 where a vertex has no face.

    Plain torch on every device; `shade_baked` has them in a kernel of its own.

    Args:
        vertices: (..., V, 3).
        faces: (F, 3).
    Returns:
        (..., V, 3); carries gradients.
    """
    corners = faces.long().unbind(1)
    a, b, c = (vertices[..., corner, :] for corner in corners)
    flat = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in corners:
        total = total.index_add(-2, corner, flat)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-15)
