"""Where a head's outline should run in a picture, and by how much it is off there.

The outline of the mesh is made of the edges between faces that look at the camera and faces that look away. From each
such edge one walks along the picture's normal over the parsing until what is seen changes. Where skin ends before the
background, neck or clothes, the outline has to be there. Where skin ends below hair, the head goes on: the outline may
not be further in. Where hair ends before the background, the outline may not be further out. How thick hair is, nobody
sees: a thickness that is assumed lowers the skull of whoever has less, and poses and focal length bend to fit it.

Source: the contour's motion along its normal is that of the surface point on it (Cipolla and Blake 1992).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.ops.raster import rasterize
from headavatar.scene import PARSING_CLASSES, Array
from headavatar.track.landmark_fit import project

BACKGROUND, HAIR, BODY_SKIN, FACE_SKIN, CLOTHES, OTHER = range(len(PARSING_CLASSES))
UNKNOWN = 255
"""What is not in the picture."""

FACE, SCALP, NECK = 1, 2, 3
"""Parts of the mesh; the ears belong to the face, as they do for parsing."""

EXACT, AT_LEAST, AT_MOST, HAIR_END = range(4)
"""What a target says: run here, run no further in, run no further out, here a head ends of which hair is a part."""

_NOT_OUTER = ("mouth_interior", "teeth", "tongue", "eyes", "lashes")
_WALK_PX = 0.5
_BESIDE_PX = 1.5
_HAIR_REACH = 2.0
"""Hair is walked through this many times as far as skin."""
_FALL_M = 0.04
"""How much nearer the surface may be so far inside of its outline."""


@dataclass(frozen=True)
class Rim:
    """The edges of a head's mesh that can become its outline.

    Attributes:
        faces: (F, 3) all triangles.
        parts: (F,) `FACE`, `SCALP`, `NECK`, or 0 for what lies inside.
        edges: (N, 2) vertices.
        beside: (N, 2) the two faces of each edge.
        opposite: (N, 2) the corner of each of them that is not on the edge.
    """

    faces: Tensor
    parts: Tensor
    edges: Tensor
    beside: Tensor
    opposite: Tensor

    @staticmethod
    def of(head: HeadModel) -> Rim:
        """The rim of a head model."""
        inner = torch.zeros(head.vertex_count, dtype=torch.bool)
        for region in _NOT_OUTER:
            if region in head.regions:
                inner |= head.regions[region]
        faces = head.faces
        parts = torch.full((len(faces),), FACE)
        parts[head.regions["scalp"][faces].any(1)] = SCALP
        parts[head.regions["neck"][faces].any(1)] = NECK
        parts[inner[faces].any(1)] = 0
        sides = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
        corners = torch.cat([faces[:, 2], faces[:, 0], faces[:, 1]])
        owners = torch.arange(len(faces)).repeat(3)
        edges, which, count = torch.unique(sides, dim=0, return_inverse=True, return_counts=True)
        order = torch.argsort(which, stable=True)
        starts = torch.cumsum(count, 0) - count
        pairs = starts[count == 2]
        first, second = order[pairs], order[pairs + 1]
        beside = torch.stack([owners[first], owners[second]], 1)
        opposite = torch.stack([corners[first], corners[second]], 1)
        outer = (parts[beside] > 0).all(1)
        return Rim(faces, parts, edges[count == 2][outer], beside[outer], opposite[outer])


@dataclass(frozen=True)
class Outline:
    """N places on the outline of the mesh in one picture.

    Attributes:
        edges: (N, 2) vertices whose middle the place is.
        parts: (N,) `FACE`, `SCALP` or `NECK`.
        pixels: (N, 2).
        normals: (N, 2) unit, out of the head.
        length_px: (N,) of the outline that each stands for.
    """

    edges: Tensor
    parts: Array
    pixels: Array
    normals: Array
    length_px: Array


def outline(rim: Rim, world: Tensor, focal: float, center: Tensor, height: int, width: int) -> Outline:
    """The visible outline of a posed head.

    Only where the part leads over to something else: no nostrils, and no ear in front of a cheek.

    Args:
        rim: of the head model.
        world: (V, 3) posed vertices, seen by the camera at the origin that looks along -z.
        focal, center: of that camera, pixels.
        height, width: of the picture, pixels.
    """
    screen = project(world, focal, center)
    corners = world[rim.faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = (normals * corners[:, 0]).sum(1) < 0
    turning = front[rim.beside[:, 0]] != front[rim.beside[:, 1]]
    edges, beside, opposite = rim.edges[turning], rim.beside[turning], rim.opposite[turning]
    near = torch.where(front[beside[:, 0]], 0, 1)[:, None]
    parts = rim.parts[beside.gather(1, near)[:, 0]].numpy()
    ends = screen[edges].numpy()
    inward = screen[opposite.gather(1, near)[:, 0]].numpy()
    pixels = ends.mean(1)
    along = ends[:, 1] - ends[:, 0]
    length = np.linalg.norm(along, axis=1)
    normal = np.stack([along[:, 1], -along[:, 0]], 1) / np.maximum(length, 1e-6)[:, None]
    normal *= np.sign(((pixels - inward) * normal).sum(1))[:, None]
    fragments = rasterize(torch.cat([screen, -world[:, 2:]], 1), rim.faces, height, width)
    drawn = np.where(fragments.mask.numpy(), rim.parts.numpy()[fragments.face_index.numpy()], -1)
    depth = fragments.depth.numpy()
    own_depth = -world[edges][..., 2].mean(1).numpy()
    inside, there = look(depth, pixels - _BESIDE_PX * normal, 0.0)
    outside, _ = look(drawn, pixels + _BESIDE_PX * normal, -1)
    behind, _ = look(depth, pixels + _BESIDE_PX * normal, 0.0)
    kept = there & (inside > own_depth - _FALL_M) & ((behind == 0) | (behind > own_depth)) & (length > 1e-3)
    # a face ends before a neck too; scalp and neck end only before what is no head
    kept &= np.where(parts == FACE, (outside < 0) | (outside == NECK), outside < 0) & (parts > 0)
    return Outline(edges[torch.from_numpy(kept)], parts[kept], pixels[kept], normal[kept], length[kept])


def look(picture: Array, pixels: Array, missing: float) -> tuple[Array, Array]:
    """Values (...) of an (H, W) picture at (..., 2) pixels, nearest, and whether the pixels lie in the picture."""
    column, row = np.floor(pixels).astype(np.int64)[..., 0], np.floor(pixels).astype(np.int64)[..., 1]
    there = (column >= 0) & (row >= 0) & (column < picture.shape[1]) & (row < picture.shape[0])
    values = picture[row.clip(0, picture.shape[0] - 1), column.clip(0, picture.shape[1] - 1)]
    return np.where(there, values, missing), there


@dataclass(frozen=True)
class Targets:
    """How far each place of an outline should move along its normal.

    Attributes:
        place: (M,) positions into the outline; a place may have two targets or none.
        shift_px: (M,) to move outwards.
        kind: (M,) `EXACT`, `AT_LEAST`, `AT_MOST` or `HAIR_END`.
        trust: (M,) 1 before the background, less before a neck, whose border with the face parsing has to guess.
    """

    place: Array
    shift_px: Array
    kind: Array
    trust: Array


def targets(found: Outline, parsing: Array, reach_px: float) -> Targets:
    """Where the outline should run, by what is seen along its normals.

    Args:
        found: of the mesh.
        parsing: (H, W) indices into `PARSING_CLASSES`, or `UNKNOWN`.
        reach_px: how far to walk.
    """
    steps = np.arange(0, _HAIR_REACH * reach_px, _WALK_PX) + 0.5 * _WALK_PX
    rays = found.normals[:, None] * steps[:, None]
    outward, _ = look(parsing, found.pixels[:, None] + rays, UNKNOWN)
    inward, _ = look(parsing, found.pixels[:, None] - rays, UNKNOWN)
    is_neck = (found.parts == NECK)[:, None]
    skin = np.where(is_neck, BODY_SKIN, FACE_SKIN)

    def ends(classes: Array) -> Array:
        beyond_face = (classes == BACKGROUND) | (classes == BODY_SKIN) | (classes == CLOTHES)
        return np.where(is_neck, classes == BACKGROUND, beyond_face)

    rows = np.arange(len(steps))
    every = np.arange(len(found.pixels))
    # outward, past what may hide skin, to the skin or to where the person ends
    clear = ~np.isin(outward, (HAIR, OTHER))
    first, some = _first(clear)
    at_first = outward[every, first]
    on_skin = some & (at_first == skin[:, 0])
    left, leaves = _first((rows > first[:, None]) & (outward != skin) & (outward != OTHER))
    at_left = outward[every, left]
    on_skin &= leaves & (steps[left] < reach_px)
    exact_out = on_skin & ends(at_left[:, None])[:, 0]
    at_least = on_skin & (at_left == HAIR) & (found.parts != NECK)
    through_hair = some & (first > 0) & (at_first == BACKGROUND) & (found.parts != NECK)
    through_hair &= outward[every, np.maximum(first - 1, 0)] == HAIR
    # inward, from beyond the person's end
    beyond = ends(outward[:, :1])[:, 0]
    entered, enters = _first(~ends(inward))
    at_entered = inward[every, entered]
    enters &= steps[entered] < reach_px
    exact_in = beyond & enters & (at_entered == skin[:, 0])
    outside_hair = beyond & enters & (at_entered == HAIR) & (outward[:, 0] == BACKGROUND) & (found.parts != NECK)

    edge = np.where(through_hair, first, -entered) * _WALK_PX
    hair_end = through_hair | outside_hair
    at_most = hair_end & (edge < 0)
    parts = [
        (exact_out, left * _WALK_PX, EXACT, np.where(at_left == BACKGROUND, 1.0, 0.5)),
        (exact_in, -entered * _WALK_PX, EXACT, np.where(outward[:, 0] == BACKGROUND, 1.0, 0.5)),
        (at_least, left * _WALK_PX, AT_LEAST, np.ones(len(every))),
        (at_most, edge, AT_MOST, np.ones(len(every))),
        (hair_end & (found.parts == SCALP), edge, HAIR_END, np.ones(len(every))),
    ]
    return Targets(
        np.concatenate([every[mask] for mask, _, _, _ in parts]),
        np.concatenate([shift[mask] for mask, shift, _, _ in parts]),
        np.concatenate([np.full(mask.sum(), kind) for mask, _, kind, _ in parts]),
        np.concatenate([trust[mask] for mask, _, _, trust in parts]),
    )


def _first(mask: Array) -> tuple[Array, Array]:
    """(N,) position of the first true value in each row of (N, M), and whether there is one."""
    return np.asarray(mask.argmax(1)), np.asarray(mask.any(1))
