"""Silhouettes drawn with the share of a pixel that they cover, which gives vertices gradients from what is seen."""

from __future__ import annotations

from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.native import antialiasing as native
from headavatar.ops.raster import Fragments
from headavatar.ops.reference import antialiasing as reference
from headavatar.ops.topology import topology


def antialias(picture: Tensor, fragments: Fragments, vertices: Tensor, faces: Tensor) -> Tensor:
    """Blend pixels across silhouettes, by where the silhouette passes between their centers.

    Of two pixels side by side, or one above the other, that see different faces, the nearer one's surface is followed
    towards the other pixel, from face to face. If it ends on the way, in an edge of one face only or in one behind
    which it turns back, the pixel into which the edge falls takes a part of the other's color: half of it for an edge
    through its own center, none for an edge midway. So the picture changes continuously as vertices move, and what a
    loss sees at a silhouette moves it. Edges within a surface change nothing.

    Args:
        picture: (B, H, W, C) or (H, W, C), drawn from `fragments`: colors, masks, any attributes.
        fragments: of `rasterize`, one layer.
        vertices: (B, V, 3) or (V, 3), those that were rasterized: x and y in pixels, z = camera z in meters.
        faces: (F, 3) the faces that were rasterized.
    Returns:
        The blended picture; carries gradients to `picture` and to x and y of `vertices`. A pixel with silhouettes on
        several sides takes a part across each, so a spike thinner than a pixel may leave the range of its colors.
    Raises:
        ValueError: shapes do not fit.
    Source:
        S. Laine et al. 2020, Modular Primitives for High-Performance Differentiable Rendering, section 3.4; there only
        edges of the two faces seen are looked at, which finds few where faces are smaller than pixels.
    """
    single = picture.ndim == 3
    face_index, depth = fragments.face_index, fragments.depth
    if single:
        picture, vertices, face_index, depth = picture[None], vertices[None], face_index[None], depth[None]
    if picture.ndim != 4 or face_index.shape != picture.shape[:3]:
        raise ValueError(f"a picture of {tuple(picture.shape)} for fragments of {tuple(face_index.shape)}")
    if vertices.ndim != 3 or len(vertices) != len(picture) or vertices.shape[-1] != 3:
        raise ValueError(f"vertices of {tuple(vertices.shape)} for a picture of {tuple(picture.shape)}")
    edges = topology(faces)
    if edges.vertex_count > vertices.shape[1]:
        raise ValueError(f"faces point outside the {vertices.shape[1]} vertices")
    blend = native.antialias if backend.is_native(picture, vertices, depth) else reference.antialias
    blended = blend(picture, face_index, depth.detach(), vertices, edges.faces, edges.twins)
    return blended[0] if single else blended
