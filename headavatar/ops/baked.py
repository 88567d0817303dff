"""A picture of a head whose colors were baked into maps, as a plain shader draws it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.antialiasing import antialias
from headavatar.ops.native import baked as native
from headavatar.ops.raster import rasterize
from headavatar.ops.reference import baked as reference
from headavatar.ops.topology import topology

COVERED = 0.2
"""Cosines from where a cover begins to where it shows alone."""
LANES = 8
"""What the number of maps is filled up to a multiple of: those that the native kernel reads together."""


@dataclass(frozen=True)
class BakedMaps:
    """Maps over the UV layout, as the shader reads them: those of weights lie side by side in each texel and channel.

    Attributes:
        base: (S, S, 4) RGB and opacity; row 0 at v = 1.
        texels: (s, s, 4, P) int16, what each of K weights adds; row 0 at v = 1. The rest of the last axis is 0.
        scales: (P,) what a map's numbers are multiplied with.
        expressions: K.
        light: (L, L, R, 4) what each axis' product with the normal adds; row 0 at v = 1.
    """

    base: Tensor
    texels: Tensor
    scales: Tensor
    expressions: int
    light: Tensor

    @property
    def unpacked(self) -> Tensor:
        """(K, s, s, 4) float maps of the weights."""
        return (self.texels * self.scales).permute(3, 0, 1, 2)[: self.expressions]


def pack_maps(base: Tensor, expressions: Tensor, light: Tensor) -> BakedMaps:
    """Lay maps out for `shade_baked`, those of weights in steps of 1/32767 of the largest value of each.

    Args:
        base: (S, S, 4) RGB and opacity in [0, 1], row 0 at v = 1.
        expressions: (K, s, s, 4) what is added per unit of each weight; s up to S. Where coarser than the base, they
            are interpolated between their texels' centers.
        light: (R, L, L, 4) what is added per unit of each axis' product with the normal; L may differ from S.
    Returns:
        The maps, 8 bytes a texel and map.
    Raises:
        ValueError: sizes do not fit, or these are not four channels.
    """
    if base.ndim != 3 or base.shape[0] != base.shape[1] or base.shape[2] != 4:
        raise ValueError(f"maps of {tuple(base.shape)}, not (S, S, 4)")
    if expressions.ndim != 4 or expressions.shape[1:] != (*[min(expressions.shape[1], len(base))] * 2, 4):
        raise ValueError(f"maps of {tuple(expressions.shape)} for a base of {tuple(base.shape)}, not (K, s, s, 4)")
    if light.ndim != 4 or light.shape[3] != 4 or light.shape[1] != light.shape[2]:
        raise ValueError(f"maps of light of {tuple(light.shape)}, not (R, L, L, 4)")
    maps = expressions.float()
    side, padded = maps.shape[1], max(1, -(-len(maps) // LANES)) * LANES
    scales = (maps.reshape(len(maps), -1).abs().amax(1) / 32767).clamp_min(1e-12) if len(maps) else maps.new_zeros(0)
    filled = maps.new_zeros(side, side, 4, padded)
    filled[..., : len(maps)] = (maps / scales[:, None, None, None]).round().permute(1, 2, 3, 0)
    return BakedMaps(
        base.float().contiguous(), filled.to(torch.int16).contiguous(),
        torch.nn.functional.pad(scales, (0, padded - len(maps))), len(maps),
        light.float().permute(1, 2, 0, 3).contiguous(),
    )  # fmt: skip


@dataclass(frozen=True)
class BakedPicture:
    """What `shade_baked` draws.

    Attributes:
        rgb: (H, W, 3) in [0, 1], over the background.
        alpha: (H, W) in [0, 1], how much of each pixel the head covers, by its outline and its opacity.
        depth: (H, W) camera z in meters, 0 where the pixel's center sees no face.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor


@torch.no_grad()
def shade_baked(
    vertices: Tensor,
    faces: Tensor,
    uvs: Tensor,
    uv_faces: Tensor,
    maps: BakedMaps,
    weights: Tensor,
    height: int,
    width: int,
    *,
    points: Tensor | None = None,
    axes: Tensor | None = None,
    background: Tensor | None = None,
    cover: Tensor | None = None,
    near: float = 0.01,
    cull: bool = False,
) -> BakedPicture:
    """Draw a posed head: base + sum of weights[k] maps[k] + sum of (normal . axes[r]) light[r], outlines anti-aliased.

    It is `rasterize`, the shader and `antialias` in one; natively one call, which looks only at what is seen. Maps are
    read bilinearly. Opacity is clamped to [0, 1] and lays the color over the background; the picture is clamped once
    outlines are anti-aliased. The normal is interpolated between those of the vertices.
    Meshes asked about last are remembered (`topology`), so pass the same `faces` each time.

    Args:
        vertices: (V, 3) x and y in pixels, z = camera z in meters.
        faces: (F, 3).
        uvs: (U, 2) in [0, 1], v up.
        uv_faces: (F, 3) into `uvs`.
        maps: of `pack_maps`.
        weights: (K,) of this frame.
        height, width: of the picture.
        points: (V, 3) the vertices where the axes are, for the normals; only with maps of light or a cover.
        axes: (R, 3) as `points`.
        background: (3,) RGB in [0, 1]; white if None.
        cover: (V, 4) RGB of what lies over the maps, opaque, where the surface is seen face on; and from which cosine
            on between a vertex's normal, whichever way it points, and the view from the points' origin: `COVERED`
            above that it shows alone.
        near, cull: as of `rasterize`.
    Returns:
        The picture; carries no gradients.
    Raises:
        ValueError: shapes do not fit.
    """
    lights = maps.light.shape[2]
    shaded = lights > 0
    if weights.shape != (maps.expressions,) or (shaded and (axes is None or axes.shape != (lights, 3))):
        raise ValueError(f"the maps take {maps.expressions} weights and {lights} axes of 3")
    if (shaded or cover is not None) and (points is None or points.shape != vertices.shape):
        raise ValueError("maps of light, and a cover, take the points (V, 3) of the vertices")
    if cover is not None and cover.shape != (len(vertices), 4):
        raise ValueError(f"a cover of {tuple(cover.shape)} is not of {len(vertices)} vertices, (V, 4)")
    if (
        vertices.ndim != 2
        or vertices.shape[1] != 3
        or uvs.ndim != 2
        or uvs.shape[1] != 2
        or (background is not None and len(background) != 3)
    ):
        raise ValueError(f"vertices {tuple(vertices.shape)} are not (V, 3), uvs {tuple(uvs.shape)} not (U, 2), or "
                         "the background has not three channels")  # fmt: skip
    mesh, layout = topology(faces), topology(uv_faces)
    if layout.faces.shape != mesh.faces.shape or layout.vertex_count > len(uvs):
        raise ValueError(f"uv_faces of {tuple(uv_faces.shape)} point outside the {len(uvs)} uvs, or are not the faces")
    background = vertices.new_ones(3) if background is None else background.to(vertices)
    if not shaded:
        axes = None
    if not shaded and cover is None:
        points = None
    if backend.is_native(vertices, maps.scales):
        return BakedPicture(*native.draw(
            vertices, mesh, layout.faces, uvs, maps, weights, points, axes, background, cover, COVERED,
            height, width, near, cull,
        ))  # fmt: skip
    fragments = rasterize(vertices, mesh.faces, height, width, near=near, cull=cull)
    factors = torch.nn.functional.pad(weights.to(vertices), (0, len(maps.scales) - maps.expressions)) * maps.scales
    drawn = reference.shade(fragments, mesh, layout.faces, uvs, maps, factors, points, axes, background, cover, COVERED
    )  # fmt: skip
    drawn = antialias(drawn, fragments, vertices, mesh.faces).clamp_(0, 1)
    return BakedPicture(drawn[..., :3].contiguous(), drawn[..., 3].contiguous(), fragments.depth)
