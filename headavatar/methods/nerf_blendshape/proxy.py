"""A head's sides and back as a mesh, behind the radiance field in pictures from where no camera was.

What a camera did not see the field does not know: from there it is rags and fog with an open back. A proxy is a closed
surface with colors, found once a fit is done. Pictures from beyond training's views show the field where training saw a
surface, and the proxy behind it; within training's views it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ... import ops
from ...scene import Array, Camera, Surface
from . import strands
from .rays import Cube
from .warp import carried

FACES_CAMERA = torch.tensor([1.0, -1.0, -1.0])
"""Head space's axes in camera space, for a head that faces the camera."""
NEAR_M = 0.01
"""Vertices nearer to a camera than this, metres, are not drawn."""


@dataclass(frozen=True)
class Layer:
    """A proxy as one picture shows it.

    Attributes:
        rgb: (H, W, 3) over black, alpha (H, W): smooth at its outline.
        depth: (H, W) camera z, metres; infinite where it is not seen. Of some pixels, all are (N,).
    """

    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor

    def within(self, x0: int, y0: int, x1: int, y1: int) -> Layer:
        """The pixels of a rectangle, row by row; x1 and y1 exclusive."""
        rgb, alpha, depth = (one[y0:y1, x0:x1] for one in (self.rgb, self.alpha, self.depth))
        return Layer(rgb.reshape(-1, 3), alpha.reshape(-1), depth.reshape(-1))

    def at(self, pixels: torch.Tensor) -> Layer:
        """Some (N,) pixels, flat indices."""
        return Layer(self.rgb.reshape(-1, 3)[pixels], self.alpha.reshape(-1)[pixels], self.depth.reshape(-1)[pixels])


@dataclass(frozen=True)
class Proxy:
    """A mesh, and the part of the field that shows in front of it.

    Attributes:
        vertices: (V, 3) cube units, of the neutral head.
        faces: (F, 3) int64, counterclockwise from outside.
        colors: (V, 3) RGB, as normals across the line of sight would have them.
        trusted: (G, G, G) bool, occupied voxels that hold a surface which training saw.
        light: (3,) by how much the logarithm of brightness grows with a normal's axes in camera space.
        strands: (V, 3) where hair shows strands, see `strands.laid`; None in avatars of versions that made none up.
    """

    vertices: torch.Tensor
    faces: torch.Tensor
    colors: torch.Tensor
    trusted: torch.Tensor
    light: torch.Tensor
    strands: torch.Tensor | None = None

    @cached_property
    def cells(self) -> ops.Cells:
        """The trusted voxels, as many pictures take them."""
        return ops.Cells(self.trusted)

    def posed(self, warp: torch.Tensor | None) -> torch.Tensor:
        """(V, 3) where the vertices lie in a frame whose samples are moved by `warp`, (nodes³ · 4); cube units."""
        return self.vertices if warp is None else carried(self.vertices, warp)

    def draw(self, vertices: torch.Tensor, cube: Cube, pose: tuple[Array, Array], camera: Camera) -> Layer:
        """What a camera sees of it.

        Args:
            vertices: from `posed`.
            cube: the modelled cube.
            pose: (3, 3) and (3,), from head to camera.
            camera: any.
        """
        rotation, translation = pose
        local = cube.to_head(vertices.cpu().numpy().astype(np.float64)) @ rotation.T + translation
        seen = local @ np.asarray(camera.K, np.float64).T
        z = np.where(np.abs(seen[:, 2:]) < 1e-6, 1e-6, seen[:, 2:])
        on_picture = torch.as_tensor(np.concatenate([seen[:, :2] / z, local[:, 2:]], 1), dtype=torch.float32)
        on_picture = on_picture.to(vertices.device)
        fragments = ops.rasterize(on_picture, self.faces, camera.height, camera.width, near=NEAR_M)
        turned = torch.as_tensor(local, dtype=torch.float32, device=vertices.device)
        normals = ops.vertex_normals(turned[None], self.faces)[0]
        lit = self.colors * torch.exp(normals @ self.light)[:, None]
        colors = torch.cat([lit, torch.ones_like(self.colors[:, :1])], 1)
        picture = ops.interpolate(colors, self.faces, fragments)
        if self.strands is not None:
            factor = torch.ones_like(picture)
            streaks = ops.interpolate(self.strands, self.faces, fragments)[fragments.mask]
            factor[..., :3][fragments.mask] = strands.shading(streaks)[:, None]
            picture = picture * factor
        picture = ops.antialias(picture, fragments, on_picture, self.faces).clamp(0, 1)
        depth = torch.where(fragments.mask, fragments.depth, torch.inf)
        return Layer(picture[..., :3], picture[..., 3], depth)

    def surface(self, warp: torch.Tensor | None, cube: Cube) -> Surface:
        """Its triangles in a frame whose samples are moved by `warp`, lit as a head is that faces the camera."""
        vertices = cube.to_head(self.posed(warp).cpu().numpy().astype(np.float64))
        normals = ops.vertex_normals(torch.as_tensor(vertices, dtype=torch.float32)[None], self.faces.cpu())[0]
        lit = self.colors.cpu() * torch.exp(normals * FACES_CAMERA @ self.light.cpu())[:, None]
        if self.strands is not None:
            lit = lit * strands.shading(self.strands.cpu())[:, None]
        return Surface(vertices.astype(np.float32), self.faces.cpu().numpy(), lit.clamp(0, 1).numpy())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Named tensors, as files hold them."""
        named = {
            "proxy.vertices": self.vertices, "proxy.faces": self.faces.to(torch.int32), "proxy.colors": self.colors,
            "proxy.trusted": self.trusted.to(torch.uint8), "proxy.light": self.light,
        }  # fmt: skip
        return named if self.strands is None else named | {"proxy.strands": self.strands}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Any]) -> Proxy | None:
        """What `tensors` gave, None where there is nothing of it.

        Raises:
            KeyError: a part is missing.
            ValueError: faces point to no vertex, or shapes do not fit.
        """
        if not any(name.startswith("proxy.") for name in tensors):
            return None
        vertices, faces = tensors["proxy.vertices"], tensors["proxy.faces"].to(torch.int64)
        colors = tensors["proxy.colors"]
        if vertices.ndim != 2 or vertices.shape[1] != 3 or colors.shape != vertices.shape or faces.shape[1:] != (3,):
            raise ValueError(f"a proxy of {tuple(vertices.shape)}, {tuple(faces.shape)} and {tuple(colors.shape)}")
        if len(faces) == 0 or int(faces.min()) < 0 or int(faces.max()) >= len(vertices):
            raise ValueError("a proxy whose faces point to no vertex")
        made_up = tensors.get("proxy.strands")
        if made_up is not None and made_up.shape != vertices.shape:
            raise ValueError(f"a proxy of {tuple(vertices.shape)} with strands of {tuple(made_up.shape)}")
        return Proxy(vertices, faces, colors, tensors["proxy.trusted"].to(torch.bool), tensors["proxy.light"], made_up)


def in_front(field: ops.Composite, layer: Layer, share_m: torch.Tensor) -> ops.Composite:
    """What rays saw of a field in front of a proxy, and of that behind it.

    Args:
        field: of R rays, which end at the proxy.
        layer: the same R pixels, flat.
        share_m: (R,) cube units along the ray per metre of camera z.
    """
    left = (1 - field.alpha) * layer.alpha
    away = torch.where(torch.isfinite(layer.depth), layer.depth, 0.0) * share_m
    clear = (1 - field.alpha)[:, None]
    return ops.Composite(field.rgb + clear * layer.rgb, field.alpha + left, field.depth + left * away)


def mixed(field: ops.Composite | None, turned: ops.Composite, share: float) -> ops.Composite:
    """The same rays as two ways of looking see them, `share` as the second; at 1 the first is not needed."""
    if field is None:
        return turned
    parts = ((field.rgb, turned.rgb), (field.alpha, turned.alpha), (field.depth, turned.depth))
    return ops.Composite(*(a + share * (b - a) for a, b in parts))
