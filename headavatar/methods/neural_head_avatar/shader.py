"""The fitted head drawn as a plain shader draws it: everything that a frame does not change is laid out beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ... import ops
from ...head.folded import FoldedHead
from ...scene import Array, Camera, HeadParams, RenderOutput
from .cover import Cover
from .drawing import Layout
from .geometry import Geometry, Poses
from .offsets import FixedOffsets
from .stack import CHANNELS, Stack


@dataclass(frozen=True)
class _Laid:
    """A cover whose changes are added in one pass, a tenth of the time of `Cover.at`.

    Attributes:
        packed: (V, 4) of the usual frame.
        usual: (K,) as of `Cover`.
        moves: (K, R * 4) those of `Cover`, which leave the fourth number alone.
        region: (V,).
    """

    packed: Array
    usual: Array
    moves: Array
    region: Array

    @staticmethod
    def of(cover: Cover) -> _Laid:
        moves = torch.zeros(len(cover.usual), 1, 3) if cover.moves is None else cover.moves
        wide = torch.nn.functional.pad(moves, (0, 1)).flatten(1)
        region = torch.zeros_like(cover.region) if cover.moves is None else cover.region
        return _Laid(*(part.cpu().numpy() for part in (cover.packed, cover.usual, wide, region)))

    def at(self, told: Array) -> Tensor:
        """(V, 4) of a frame, as `ops.shade_baked` takes it."""
        laid = ((told - self.usual) @ self.moves).reshape(-1, 4).take(self.region, axis=0)
        laid += self.packed
        return torch.from_numpy(laid)


class Shader:
    """Draws what `paint` would of a head whose texture is a stack, many times faster and without gradients.

    Args:
        geometry, layout: of the head; what they hold now is what is drawn.
        stack: its texture.
        cover: what lies over it.
    """

    def __init__(self, geometry: Geometry, layout: Layout, stack: Stack, cover: Cover | None) -> None:
        self._geometry, self._layout = geometry, layout
        self._cover = None if cover is None else _Laid.of(cover)
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
        self._range = [(low, max(high - low, 1e-6)) for low, high in geometry.pose_range.T.tolist()]

    @torch.no_grad()
    def draw(
        self, params: HeadParams, told: Array, camera: Camera, background: tuple[float, float, float]
    ) -> RenderOutput:
        """One picture.

        Args:
            params: of one frame; its identity is not used.
            told: (K,) the stack's coefficients.
            camera: any.
            background: RGB in [0, 1].
        """
        points, pixels = self._before(camera, params)
        coefficients = torch.from_numpy(told).to(points)
        cover = None if self._cover is None else self._cover.at(told).to(points)
        drawn = ops.shade_baked(
            pixels, self._faces, self._layout.uvs, self._uv_faces, self._maps, coefficients[1:],
            camera.height, camera.width, points=points, axes=self._view_axes, cover=cover,
            background=_behind(tuple(background)),
        )  # fmt: skip

        def normals() -> object:
            seen = self._layout.see(points[None], pixels[None], replace(camera, world_to_camera=np.eye(4)))
            return seen.normals[0].cpu().numpy()

        return RenderOutput(
            drawn.rgb.cpu().numpy(), drawn.alpha.cpu().numpy(), drawn.depth.cpu().numpy(),
            normals,  # type: ignore[arg-type]
        )  # fmt: skip

    def _before(self, camera: Camera, params: HeadParams) -> tuple[Tensor, Tensor]:
        """(V, 3) in camera space, meters, and (V, 3) in pixels with depth."""
        if self._linear:
            return self._head.before(camera, params, [*params.neck[0].tolist(), *self._shares(params)])
        offset = self._geometry.offset(Poses.of(params, self._view_axes.device))[0]
        return self._head.before(camera, params, (), offset)

    def _shares(self, params: HeadParams) -> list[float]:
        """(6,) `Geometry.shares` of one frame."""
        pose = params.rotation[0].tolist() + params.translation[0].tolist()
        return [
            min(max(2 * (at - low) / span - 1, -1), 1) for at, (low, span) in zip(pose, self._range, strict=True)
        ]  # fmt: skip


@lru_cache(maxsize=8)
def _behind(background: tuple[float, float, float]) -> Tensor:
    """(3,): making a tensor of three numbers takes a hundredth of a picture."""
    return torch.tensor(background)
