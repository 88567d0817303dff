"""Mesh rasterisation and interpolation over the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.cuda import raster as cuda
from headavatar.ops.native import raster as native
from headavatar.ops.reference import raster as reference


@dataclass(frozen=True)
class Fragments:
    """What the rasteriser sees at each pixel's centre; without the B axis where the vertices had none.

    Where layers were asked for, all have a K axis after B, the nearest face first.

    Attributes:
        face_index: (B, H, W) int32, -1 where there is no face.
        bary: (B, H, W, 3) perspective-correct barycentric coordinates, 0 where there is no face; carries gradients.
        depth: (B, H, W) camera z in metres, 0 where there is no face; carries gradients.
    """

    face_index: Tensor
    bary: Tensor
    depth: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, H, W) bool, where a face is seen."""
        return self.face_index >= 0


def rasterize(
    vertices: Tensor,
    faces: Tensor,
    height: int,
    width: int,
    *,
    layers: int | None = None,
    near: float = 0.01,
    cull: bool = False,
) -> Fragments:
    """Find the nearest face, or the nearest few, at each pixel's centre.

    Pixel (0, 0) has its centre at (0.5, 0.5), y runs down. A pixel on a shared edge is drawn by exactly one face; of
    faces at equal depth the first wins. Faces that reach behind the camera are cut at the near plane, which works as
    long as x and y are the projections (f X / Z + c, also for negative Z).

    Args:
        vertices: (V, 3) or (B, V, 3): x and y in pixels, z = camera z in metres.
        faces: (F, 3) integer vertex indices.
        height, width: picture size, pixels.
        layers: how many faces to find behind each other, as with an eyeball behind a lid; None for one without K axis.
        near: surfaces nearer than this are not drawn, metres.
        cull: leave out faces seen from behind, whose corners run clockwise on the picture as one looks at it.
    Returns:
        Fragments; `bary` and `depth` carry gradients to `vertices`, the choice of the face does not.
    Raises:
        ValueError: shapes do not fit.
    Source:
        Olano and Greer 1997, homogeneous edge functions.
    """
    if vertices.ndim not in (2, 3) or vertices.shape[-1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"vertices {tuple(vertices.shape)} and faces {tuple(faces.shape)} must end in 3")
    if layers is not None and layers < 1:
        raise ValueError(f"layers={layers}; at least 1")
    batch, count = vertices if vertices.ndim == 3 else vertices[None], layers or 1
    if backend.is_native(vertices, faces):
        face_index, bary, depth = native.rasterize(batch, faces, height, width, count, near, cull)
    else:
        with torch.no_grad():
            images = _visible_faces(batch.detach(), faces, height, width, count, near, cull)
        shaded = [reference.barycentrics(v, faces, image) for v, image in zip(batch, images, strict=True)]
        face_index = torch.stack(images)
        bary, depth = (torch.stack(part) for part in zip(*shaded, strict=True))
    if layers is None:
        face_index, bary, depth = face_index.squeeze(1), bary.squeeze(1), depth.squeeze(1)
    if vertices.ndim == 2:
        face_index, bary, depth = face_index[0], bary[0], depth[0]
    return Fragments(face_index, bary, depth)


def _visible_faces(
    batch: Tensor, faces: Tensor, height: int, width: int, layers: int, near: float, cull: bool
) -> list[Tensor]:
    """(K, H, W) the nearest faces of each frame, found on the card where that is where the vertices are."""
    if backend.is_pytorch3d(batch) and not cull and bool((batch[..., 2] > near).all()):
        return list(cuda.visible_faces_by_pytorch3d(batch, faces, height, width, layers))
    if layers == 1 and backend.is_triton(batch, faces):
        return [cuda.visible_faces(v, faces, height, width, near, cull) for v in batch]
    return [reference.visible_faces(v, faces, height, width, layers, near, cull) for v in batch]


def interpolate(attributes: Tensor, faces: Tensor, fragments: Fragments) -> Tensor:
    """Interpolate vertex attributes over the picture.

    Args:
        attributes: (V, C) shared by all frames, or (B, V, C).
        faces: (F, 3) the faces that were rasterised, or other indices for the same faces (`uv_faces` with UVs).
        fragments: of `rasterize`.
    Returns:
        (B, H, W, C), or (H, W, C) for fragments without B axis, and a K axis where they have one; 0 where there is no
        face. Carries gradients to `attributes` and to `fragments.bary`.
    Raises:
        ValueError: shapes do not fit.
    """
    # One picture's layers are as good as frames; those of several lie below each other.
    shape = fragments.face_index.shape
    flat = (1, *shape) if len(shape) == 2 else (shape[0], shape[1] * shape[2], shape[3]) if len(shape) == 4 else shape
    face_index, bary = fragments.face_index.reshape(flat), fragments.bary.reshape(*flat, 3)
    if attributes.ndim == 3 and len(attributes) != len(face_index):
        raise ValueError(f"attributes of {len(attributes)} frames for fragments of {len(face_index)}")
    if backend.is_native(attributes, faces, bary):
        picture = native.interpolate(attributes, faces, face_index, bary)
    else:
        batch = attributes if attributes.ndim == 3 else attributes.expand(len(face_index), -1, -1)
        picture = reference.interpolate(batch, faces, face_index, bary)
    return picture.reshape(*shape, picture.shape[-1])
