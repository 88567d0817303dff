"""The head's colors laid out flat: what a graphics program takes as its texture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ... import ops
from ...scene import Array
from .drawing import Layout
from .stack import Stack
from .texture import Places, Texture


@torch.no_grad()
def unwrapped(layout: Layout, look: Texture | Stack, prepared: Any, normals: Tensor, size: int) -> Array:
    """The colors of one frame in the UV layout.

    Args:
        layout: of the head.
        look: what gives colors.
        prepared: what its `prepare` gave of the frame.
        normals: (V, 3) unit, camera space, of the frame: light is drawn in.
        size: S, of the texture.
    Returns:
        (S, S, 3) uint8, row 0 at v = 1; texels without a face carry the nearest one's color, so that no seam shows.
    """
    flat = torch.stack([layout.uvs[:, 0] * size, (1 - layout.uvs[:, 1]) * size, torch.ones_like(layout.uvs[:, 0])], 1)
    seen = ops.rasterize(flat, layout.uv_faces, size, size)
    where = seen.mask
    facing = torch.nn.functional.normalize(ops.interpolate(normals, layout.faces, seen)[where], dim=-1, eps=1e-12)
    places = Places(
        ops.interpolate(layout.uvs, layout.uv_faces, seen)[where],
        ops.interpolate(layout.coordinates, layout.faces, seen)[where], facing,
        layout.in_mouth[seen.face_index[where].long()],
    )  # fmt: skip
    picture = torch.zeros(size, size, 3, device=normals.device)
    picture[where] = look.colors([places], prepared)[0].clamp(0, 1)
    _, nearest = distance_transform_edt(~where.cpu().numpy(), return_indices=True)
    return np.asarray(np.round(255 * picture.cpu().numpy()[tuple(nearest)]), np.uint8)
