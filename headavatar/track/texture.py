"""Gather the head's texture from the pictures of the training frames.

Every texel asks the frames that see it for its color; those that look at it squarely count most, and a robust mean
throws out what a hand or a highlight did to some of them. What no frame saw takes the other side's color, mirrored,
and where that was not seen either it is filled from around.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.ops.raster import rasterize
from headavatar.scene import Array
from headavatar.track.appearance import cauchy
from headavatar.track.landmark_fit import Motion, project
from headavatar.track.pictures import Pictures, images_of, sample
from headavatar.workers import in_order

_SLACK_M = 0.004
_SHARPNESS = 4.0
_TEXELS = 1 << 15
_SEEN = 0.5
"""Of a frame's full weight, summed over frames: less than this counts as unseen."""


@dataclass(frozen=True)
class Atlas:
    """Where each texel lies on the surface.

    Attributes:
        rows, columns: (P,) texels that the surface uses.
        faces: (P,) triangle of each.
        barycentric: (P, 3).
        size: side of the texture, pixels.
    """

    rows: Tensor
    columns: Tensor
    faces: Tensor
    barycentric: Tensor
    size: int

    @staticmethod
    def of(head: HeadModel, size: int) -> Atlas:
        """Raster the head's UV layout; v runs up, rows run down."""
        flat = torch.stack(
            [head.uvs[:, 0] * size, (1 - head.uvs[:, 1]) * size, torch.ones(len(head.uvs))], 1
        ).contiguous()
        fragments = rasterize(flat, head.uv_faces, size, size)
        rows, columns = torch.nonzero(fragments.face_index >= 0, as_tuple=True)
        return Atlas(rows, columns, fragments.face_index[rows, columns].long(), fragments.bary[rows, columns], size)

    def place(self, attributes: Tensor, head_faces: Tensor) -> Tensor:
        """(P, C) vertex attributes (V, C) at the texels."""
        return (attributes[head_faces[self.faces]] * self.barycentric[..., None]).sum(1)


@dataclass(frozen=True)
class Texture:
    """A texture: rgb (size, size, 3) float in [0, 1] with nothing left empty, and seen (size, size) in [0, 1]."""

    rgb: Array
    seen: Array


def gather(
    head: HeadModel, identity: Tensor, motion: Motion, neck: Tensor, pictures: Pictures, frames: Array, size: int
) -> Texture:
    """Unproject pictures onto the texture.

    Args:
        head: the head model.
        identity: (S,).
        motion: of all frames.
        neck: (T, 3) of all frames, axis-angle.
        pictures: all frames.
        frames: positions of the frames that may give colors.
        size: side of the texture, pixels.
    """
    atlas = Atlas.of(head, size)
    vertices = head.vertices(identity, motion.expression[frames], neck[frames])
    world = torch.einsum("tij,tvj->tvi", motion.rotation[frames], vertices) + motion.translation[frames, None]
    height, width = pictures.images.shape[1:3]
    # in bytes, since a large texture seen by hundreds of frames would fill the memory as floats
    seen = torch.empty(len(frames), len(atlas.rows), 4, dtype=torch.uint8)

    def look(i: int) -> None:
        color, weight = _unproject(head, atlas, world[i], pictures, int(frames[i]), height, width)
        seen[i] = (torch.cat([color, weight[:, None]], 1).clamp(0, 1) * 255).round()

    for _ in in_order(look, range(len(frames))):
        pass
    parts = [_agreed(part.float() / 255) for part in seen.split(_TEXELS, dim=1)]
    return _fill(head, atlas, torch.cat([mean for mean, _ in parts]), torch.cat([total for _, total in parts]))


def _unproject(
    head: HeadModel, atlas: Atlas, world: Tensor, pictures: Pictures, frame: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Colors (P, 3) and weights (P,) that one frame gives the texels."""
    pixels = project(world, pictures.focal, pictures.center)
    depth = -world[:, 2]
    fragments = rasterize(torch.cat([pixels, depth[:, None]], 1), head.faces, height, width)
    corners = world[head.faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    smooth = torch.zeros_like(world).index_add(0, head.faces.reshape(-1), normals.repeat_interleave(3, 0))
    place = atlas.place(torch.cat([world, torch.nn.functional.normalize(smooth, dim=1)], 1), head.faces)
    points, normal = place[:, :3], place[:, 3:]
    facing = -(torch.nn.functional.normalize(points, dim=1) * torch.nn.functional.normalize(normal, dim=1)).sum(1)
    where = project(points, pictures.focal, pictures.center)
    front = fragments.depth[where[:, 1].long().clamp(0, height - 1), where[:, 0].long().clamp(0, width - 1)]
    visible = (-points[:, 2] < front + _SLACK_M) & (facing > 0.2)
    inside = (where > 0).all(1) & (where[:, 0] < width) & (where[:, 1] < height)
    one = slice(frame, frame + 1)
    trust = sample(torch.from_numpy(pictures.trust[one]).float()[:, None] / 255, where[None])[0, 0]
    color = sample(images_of(pictures, one), where[None])[0].T
    weight = facing.clamp(min=0) ** (_SHARPNESS / 2) * (visible & inside) * (trust > 0.9)
    return color, weight


def _agreed(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Robust mean (P, 3) and total weight (P,) of the (K, P, 4) colors and weights that K frames give P texels."""
    colors, weights = seen[..., :3], seen[..., 3]
    mean = _weighted(colors, weights.square())
    for _ in range(2):
        mean = _weighted(colors, weights.square() * cauchy(colors - mean, 0.08))
    return mean, weights.sum(0)


def _weighted(colors: Tensor, weights: Tensor) -> Tensor:
    return (colors * weights[..., None]).sum(0) / weights.sum(0).clamp(min=1e-8)[:, None]


def _fill(head: HeadModel, atlas: Atlas, mean: Tensor, weight: Tensor) -> Texture:
    size = atlas.size
    image = np.zeros((size, size, 3), np.float32)
    seen = np.zeros((size, size), np.float32)
    rows, columns = atlas.rows.numpy(), atlas.columns.numpy()
    image[rows, columns] = mean.numpy()
    seen[rows, columns] = (weight / _SEEN).clamp(max=1).numpy()
    mirrored = atlas.place(_mirror_uvs(head), head.faces) * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0])
    layers = torch.from_numpy(np.dstack([image * seen[..., None], seen])).permute(2, 0, 1)
    other = sample(layers[None], mirrored[None] * size)[0].T.numpy()
    whole = ~_on_seam(head)[head.mirror][head.faces].any(1)[atlas.faces].numpy()
    other_color, other_seen = other[:, :3] / np.maximum(other[:, 3:], 1e-6), other[:, 3] * whole
    own = seen[rows, columns]
    total = own + (1 - own) * other_seen
    blend = (own / np.maximum(total, 1e-6))[:, None]
    image[rows, columns] = np.where(total[:, None] > 0.02, blend * image[rows, columns] + (1 - blend) * other_color, 0)
    known = np.zeros((size, size), np.float32)
    known[rows, columns] = total
    return Texture(_diffuse(image, known), seen)


def _mirror_uvs(head: HeadModel) -> Tensor:
    """(V, 2) the UV of each vertex's mirror image; at a seam any one of its UVs."""
    uvs = torch.zeros(head.vertex_count, 2)
    uvs[head.faces.reshape(-1)] = head.uvs[head.uv_faces.reshape(-1)]
    return uvs[head.mirror]


def _on_seam(head: HeadModel) -> Tensor:
    """(V,) bool: vertices at which the UV layout is cut, so that faces beside them cannot be mirrored by corners."""
    corners, uvs = head.faces.reshape(-1), head.uv_faces.reshape(-1)
    lowest = torch.full((head.vertex_count,), len(head.uvs)).scatter_reduce(0, corners, uvs, "amin")
    highest = torch.zeros(head.vertex_count, dtype=torch.long).scatter_reduce(0, corners, uvs, "amax")
    return lowest < highest


def _diffuse(image: Array, known: Array) -> Array:
    """Fill what is unknown from ever wider surroundings (push-pull)."""
    if min(known.shape) <= 2:
        total = known.sum()
        mean = (image * known[..., None]).sum((0, 1)) / max(float(total), 1e-6)
        return np.where(known[..., None] > 0.02, image, mean).astype(np.float32)
    shape = (max(known.shape[1] // 2, 1), max(known.shape[0] // 2, 1))
    weight = cv2.resize(known, shape, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(image * known[..., None], shape, interpolation=cv2.INTER_AREA)
    coarse = coarse / np.maximum(weight, 1e-6)[..., None]
    coarse = _diffuse(coarse, np.minimum(weight * 2, 1))
    around = cv2.resize(coarse, known.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return (image * known[..., None] + around * (1 - known[..., None])).astype(np.float32)
