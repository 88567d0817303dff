"""From posed vertices to a picture: what is seen where, its color, and outlines that carry gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ... import ops
from ...head import HeadModel
from ...scene import Camera
from .geometry import movable
from .stack import Stack
from .texture import MOUTH, Places, Texture

if TYPE_CHECKING:
    from .cover import Cover

BEHIND = ("scalp", "neck", "curtain")
"""Regions that reach round to where a camera in front does not see."""
INNER = (*MOUTH, "sockets")
"""Regions that others hide, besides the parts that stand in them."""


@dataclass(frozen=True)
class Seen:
    """The mesh under the pixels of B pictures.

    Attributes:
        fragments: of the rasteriser, (B, H, W).
        pixels: (B, V, 3) the vertices as they were rasterised: pixels and depth; carries gradients.
        faces: (F, 3).
        normals: (B, H, W, 3) camera space, unit where a face is seen, 0 elsewhere.
        facing: (B, V) cosine at each vertex between its normal, whichever way it points, and the view.
    """

    fragments: ops.Fragments
    pixels: Tensor
    faces: Tensor
    normals: Tensor
    facing: Tensor

    def antialiased(self, picture: Tensor) -> Tensor:
        """(B, H, W, C) of the same shape, blended over outlines; there gradients reach the vertices."""
        return ops.antialias(picture, self.fragments, self.pixels, self.faces)


class Layout:
    """What does not change from picture to picture: which faces are drawn, and where each lies on the texture.

    Args:
        head: subdivided.
        rest: (V, 3) vertices at rest, head space, metres.
    """

    def __init__(self, head: HeadModel, rest: Tensor) -> None:
        hidden = head.regions.get("lashes", torch.zeros(head.vertex_count, dtype=torch.bool)).to(rest.device)
        kept = ~hidden[head.faces].any(1)
        self.faces, self.uv_faces = head.faces[kept].contiguous(), head.uv_faces[kept].contiguous()
        self.uvs = head.uvs
        low, high = rest.amin(0), rest.amax(0)
        self.coordinates = (rest - (low + high) / 2) / (high - low).max() * 2
        mouth = torch.zeros(head.vertex_count, dtype=torch.bool, device=rest.device)
        for region in MOUTH:
            mouth |= head.regions.get(region, torch.zeros_like(mouth)).to(rest.device)
        self.in_mouth = mouth[self.faces].all(1)
        self.inner = movable(head)[:, 0] == 0
        for region in INNER:
            self.inner |= head.regions.get(region, torch.zeros_like(self.inner)).to(rest.device)
        self.behind = [head.regions[region].to(rest.device) for region in BEHIND if region in head.regions]

    def see(self, world: Tensor, pixels: Tensor, camera: Camera) -> Seen:
        """Rasterise.

        Args:
            world: (B, V, 3) vertices, metres.
            pixels: (B, V, 3) of `project`.
            camera: any.
        """
        fragments = ops.rasterize(pixels, self.faces, camera.height, camera.width)
        with torch.no_grad():
            view = torch.as_tensor(camera.world_to_camera, dtype=world.dtype, device=world.device)
            normals = ops.vertex_normals(world, self.faces) @ view[:3, :3].T
            points = torch.nn.functional.normalize(world @ view[:3, :3].T + view[:3, 3], dim=-1, eps=1e-20)
            facing = (normals * points).sum(-1).abs()
            shown = self._shown(normals, fragments)
        return Seen(fragments, pixels, self.faces, shown, facing)

    def shown_normals(self, world: Tensor, fragments: ops.Fragments, view: Tensor) -> Tensor:
        """(B, H, W, 3) unit normals in camera space, 0 where no face is; carries gradients to `world` (B, V, 3)."""
        return self._shown(ops.vertex_normals(world, self.faces) @ view.T, fragments)

    def _shown(self, normals: Tensor, fragments: ops.Fragments) -> Tensor:
        shown = ops.interpolate(normals, self.faces, detached(fragments))
        return torch.nn.functional.normalize(shown, dim=-1, eps=1e-12)

    def places(self, seen: Seen, where: Tensor) -> list[Places]:
        """What the texture needs to know of the pixels `where` (B, H, W) bool; position on it carries gradients."""
        fragments = seen.fragments
        uv = ops.interpolate(self.uvs, self.uv_faces, fragments)
        coordinates = ops.interpolate(self.coordinates, self.faces, fragments)
        result = []
        for b in range(len(where)):
            chosen = where[b]
            index = fragments.face_index[b][chosen].long()
            result.append(
                Places(uv[b][chosen], coordinates[b][chosen], seen.normals[b][chosen], self.in_mouth[index])
            )  # fmt: skip
        return result


def detached(fragments: ops.Fragments) -> ops.Fragments:
    """The same fragments without gradients."""
    return ops.Fragments(fragments.face_index, fragments.bary.detach(), fragments.depth.detach())


def paint(
    layout: Layout,
    texture: Texture | Stack,
    seen: Seen,
    prepared: Any,
    background: Tensor,
    cover: Cover | None = None,
) -> tuple[Tensor, Tensor]:
    """Pictures of B frames.

    Args:
        prepared: what the texture's `prepare` gave of the frames.
        background: (3,) RGB in [0, 1].
        cover: what lies over the texture where training did not see the surface face on.
    Returns:
        rgb (B, H, W, 3) and alpha (B, H, W), anti-aliased over outlines.
    """
    where = seen.fragments.mask
    colors = torch.cat(texture.colors(layout.places(seen, where), prepared))
    if colors.shape[1] == 4:
        opacity = colors[:, 3:].clamp(0, 1)
        colors = colors[:, :3] * opacity + background * (1 - opacity)
    else:
        opacity = torch.ones_like(colors[:, :1])
    if cover is not None:
        shares = torch.cat([cover.colors.expand(len(where), -1, -1), cover.shares(seen.facing)[..., None]], 2)
        over = ops.interpolate(shares, layout.faces, detached(seen.fragments))[where]
        colors = colors * (1 - over[:, 3:]) + over[:, :3] * over[:, 3:]
        opacity = opacity * (1 - over[:, 3:]) + over[:, 3:]
    empty = torch.cat([background, background.new_zeros(1)]).expand(where.numel(), 4)
    both = empty.index_put((torch.nonzero(where.reshape(-1))[:, 0],), torch.cat([colors, opacity], 1))
    both = seen.antialiased(both.reshape(*where.shape, 4))
    return both[..., :3], both[..., 3]
