"""The fitted head drawn as a plain shader draws it: everything that a frame does not change is laid out beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ... import ops
from ...head.folded import FoldedHead
from ...scene import Camera, RenderOutput
from .cover import Cover
from .drawing import Layout
from .geometry import Geometry, Poses
from .offsets import FixedOffsets
from .stack import CHANNELS, Stack


class Shader:
    """Draws what `paint` would of a head whose texture is a stack, many times faster and without gradients.

    Args:
        geometry, layout: of the head; what they hold now is what is drawn.
        stack: its texture.
        cover: what lies over it.
    """

    def __init__(self, geometry: Geometry, layout: Layout, stack: Stack, cover: Cover | None) -> None:
        self._geometry, self._layout = geometry, layout
        self._cover = None if cover is None else cover.packed
        device = geometry.rest.device
        offsets = geometry.offsets.kept()
        self._linear = isinstance(offsets, FixedOffsets)
        static, axes = torch.zeros_like(geometry.rest), geometry.rest.new_zeros(0, *geometry.rest.shape)
        if isinstance(offsets, FixedOffsets):
            static, axes = offsets.static(), offsets.axes
        self._head = FoldedHead(geometry.head, geometry.identity, geometry.rest + static, axes)
        light = stack.light.unflatten(2, (3, CHANNELS)).permute(2, 0, 1, 3)
        self._maps = ops.pack_maps(*stack.maps(), light)
        self._faces, self._uv_faces = layout.faces.int().contiguous(), layout.uv_faces.int().contiguous()
        self._view_axes = torch.eye(3, device=device)

    @torch.no_grad()
    def draw(self, poses: Poses, told: Tensor, camera: Camera, background: Tensor) -> RenderOutput:
        """One picture.

        Args:
            poses: of one frame.
            told: (1, K) the stack's coefficients.
            camera: any.
            background: (3,) RGB in [0, 1].
        """
        points, pixels = self._before(camera, poses)
        drawn = ops.shade_baked(
            pixels, self._faces, self._layout.uvs, self._uv_faces, self._maps, told[0, 1:], camera.height,
            camera.width, points=points, axes=self._view_axes, background=background,
            cover=self._cover,
        )  # fmt: skip

        def normals() -> object:
            seen = self._layout.see(points[None], pixels[None], replace(camera, world_to_camera=np.eye(4)))
            return seen.normals[0].cpu().numpy()

        return RenderOutput(
            drawn.rgb.contiguous().cpu().numpy(), drawn.alpha.contiguous().cpu().numpy(), drawn.depth.cpu().numpy(),
            normals,  # type: ignore[arg-type]
        )  # fmt: skip

    def _before(self, camera: Camera, poses: Poses) -> tuple[Tensor, Tensor]:
        """(V, 3) in camera space, meters, and (V, 3) in pixels with depth."""
        offset, along = None, torch.cat([poses.neck, self._geometry.shares(poses)], 1)[0]
        if not self._linear:
            offset, along = self._geometry.offset(poses)[0], along[:0]
        return self._head.before(
            camera, poses.expression, poses.rotation, poses.translation, poses.neck, poses.jaw, poses.eyes, along,
            offset,
        )  # fmt: skip
