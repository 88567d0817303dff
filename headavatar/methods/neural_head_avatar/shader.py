"""The fitted head drawn as a plain shader draws it: everything that a frame does not change is laid out beforehand."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ops
from ...head.folded import FoldedHead
from ...head.rotations import axis_angle_to_matrix
from ...scene import Camera, RenderOutput
from .drawing import Layout
from .geometry import Geometry, Poses
from .offsets import FixedOffsets
from .stack import CHANNELS, Stack


class Shader:
    """Draws what `paint` would of a head whose texture is a stack, many times faster and without gradients.

    Args:
        geometry, layout: of the head; what they hold now is what is drawn.
        stack: its texture.
    """

    def __init__(self, geometry: Geometry, layout: Layout, stack: Stack) -> None:
        self._geometry, self._layout = geometry, layout
        device = geometry.rest.device
        offsets = geometry.offsets.kept()
        static, self._axes = torch.zeros_like(geometry.rest), None
        if isinstance(offsets, FixedOffsets):
            static, self._axes = offsets.static(), offsets.axes.flatten(1).T.contiguous()
        self._head = FoldedHead(geometry.head, geometry.identity, geometry.rest + static)
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
        local = self._in_camera(poses, camera)
        depth = local[:, 2:]
        # behind the camera depth is kept: the rasteriser cuts faces there itself
        safe = torch.where(depth.abs() < 1e-6, 1e-6, depth)
        pixels = torch.cat([(local @ torch.from_numpy(camera.K.T[:, :2]).to(local)) / safe, depth], 1)
        drawn = ops.shade_baked(
            pixels, self._faces, self._layout.uvs, self._uv_faces, self._maps, told[0, 1:], camera.height,
            camera.width, points=local, axes=self._view_axes, background=background,
        )  # fmt: skip

        def normals() -> object:
            seen = self._layout.see(local[None], pixels[None], self._view_axes, camera.height, camera.width)
            return seen.normals[0].cpu().numpy()

        return RenderOutput(
            drawn.rgb.contiguous().cpu().numpy(), drawn.alpha.contiguous().cpu().numpy(), drawn.depth.cpu().numpy(),
            normals,  # type: ignore[arg-type]
        )  # fmt: skip

    def _in_camera(self, poses: Poses, camera: Camera) -> Tensor:
        """(V, 3) camera space, meters."""
        if self._axes is None:
            offset = self._geometry.offset(poses)[0]
        else:
            turned = torch.cat([poses.neck, self._geometry.shares(poses)], 1)[0]
            offset = torch.mv(self._axes, turned).view(-1, 3)
        points = self._head.vertices(poses.expression, poses.neck, poses.jaw, poses.eyes, offset)
        view = torch.from_numpy(camera.world_to_camera).to(points)
        turn = view[:3, :3] @ axis_angle_to_matrix(poses.rotation[0])
        place = view[:3, :3] @ poses.translation[0] + view[:3, 3]
        return torch.addmm(place, points, turn.T)
