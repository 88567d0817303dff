"""The head's colors laid out flat: what a graphics program takes as its texture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ... import ops
from ...scene import Array
from .cover import Cover, laid_over
from .drawing import Layout
from .stack import Stack
from .texture import Places, Texture


class Texels:
    """The texels of a square texture that the head uses.

    Args:
        layout: of the head.
        size: S, edge of the texture.
    """

    def __init__(self, layout: Layout, size: int) -> None:
        uvs = layout.uvs
        flat = torch.stack([uvs[:, 0] * size, (1 - uvs[:, 1]) * size, torch.ones_like(uvs[:, 0])], 1)
        self._layout, self.seen = layout, ops.rasterize(flat, layout.uv_faces, size, size)
        self.where = self.seen.mask

    def places(self, normals: Tensor) -> Places:
        """What a texture needs to know of the N texels in use.

        Args:
            normals: (V, 3) unit, camera space, of one frame.
        """
        layout, seen, where = self._layout, self.seen, self.where
        facing = torch.nn.functional.normalize(ops.interpolate(normals, layout.faces, seen)[where], dim=-1, eps=1e-12)
        return Places(
            ops.interpolate(layout.uvs, layout.uv_faces, seen)[where],
            ops.interpolate(layout.coordinates, layout.faces, seen)[where], facing,
            layout.in_mouth[seen.face_index[where].long()],
        )  # fmt: skip

    def nearest(self) -> tuple[Array, Array]:
        """(S, S) rows and columns of the used texel nearest to each."""
        _, (rows, columns) = distance_transform_edt(~self.where.cpu().numpy(), return_indices=True)
        return rows, columns


@torch.no_grad()
def unwrapped(
    layout: Layout, look: Texture | Stack, prepared: Any, normals: Tensor, size: int, cover: Cover | None = None
) -> Array:
    """The colors of one frame in the UV layout.

    Args:
        layout: of the head.
        look: what gives colors.
        prepared: what its `prepare` gave of the frame.
        normals: (V, 3) unit, camera space, of the frame: light is drawn in.
        size: S, of the texture.
        cover: what lies over the texture where training did not see the surface face on.
    Returns:
        (S, S, 3) uint8, row 0 at v = 1; texels without a face carry the nearest one's color, so that no seam shows.
    """
    texels = Texels(layout, size)
    picture = torch.zeros(size, size, 3, device=normals.device)
    picture[texels.where] = look.colors([texels.places(normals)], prepared)[0][:, :3].clamp(0, 1)
    if cover is not None:
        picture = laid_over(picture, layout, cover, texels.seen)
    rows, columns = (torch.from_numpy(index) for index in texels.nearest())
    picture = picture[rows, columns]
    return np.asarray(np.round(255 * picture.cpu().numpy()), np.uint8)
