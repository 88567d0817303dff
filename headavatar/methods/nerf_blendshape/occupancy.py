"""Where the head can be: a grid of voxels carved by the mattes and bounded by the tracked mesh, later by the density.

Three cuts, each a grid over the same cube in head space:

* the hull: a voxel whose projection falls inside the matte in nearly all training frames. Exact for hair, and as deep
  as the head's turns allow;
* the shell: voxels near the tracked mesh in some training frame, near meaning a centimetre at the face and several at
  the scalp, where hair stands off. It cuts the hull's cone in front of a face that never turned;
* the sight: once the field has taken shape, voxels that some ray of training saw something in.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from ... import ops
from ...scene import Array, Camera, HeadParams
from .rays import Cube, head_to_camera

HULL_FRAMES = 64
SHELL_FRAMES = 24
INSIDE, INSIDE_NECK = 0.6, 0.15
"""Share of frames whose matte must hold a voxel of the head, where hair swings about; far fewer below the chin, where
the neck moves by itself and clothes cover it now and then."""

TORSO_M = 0.05
"""How far before and behind the neck's surface shoulders may lie, metres."""
DEEP_M = 0.02
"""Voxels deeper inside the mesh than this, metres, are hidden."""
SEEN = 0.1
"""A voxel counts as seen where a sample in it gave this share of its ray's light."""
REACHED = 0.3
"""A voxel is hidden where no more than this share of any ray's light came to it or its neighbors."""
LAYER = 6
"""Hidden voxels stay below hair for so many voxels."""


def farthest(points: Array, count: int) -> Array:
    """Positions of `count` points that lie far from each other, the first one first, sorted."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.unique(chosen)


def diverse_frames(params: HeadParams, count: int) -> Array:
    """Frames that differ in rotation and expression."""
    return farthest(np.concatenate([params.rotation * 2, params.expression], axis=1), count)


def mesh_points(head: Any, params: HeadParams, frames: Array) -> Array:
    """(n, V, 3) the tracked mesh of some frames, head space, metres."""
    with torch.no_grad():
        vertices = head.vertices(
            torch.as_tensor(params.identity, dtype=torch.float32),
            torch.as_tensor(params.expression[frames], dtype=torch.float32),
            neck=torch.as_tensor(params.neck[frames], dtype=torch.float32),
            jaw=torch.as_tensor(params.jaw[frames], dtype=torch.float32),
            eyes=torch.as_tensor(params.eyes[frames], dtype=torch.float32),
        )
    points: Array = vertices.cpu().numpy()
    return points


def head_cube(points: Array, mattes: Array, params: HeadParams, camera: Camera, hair_m: float) -> Cube:
    """The cube that holds the mesh and whatever the mattes show around it.

    Args:
        points: (n, V, 3) mesh in head space, metres.
        mattes, params: of the same frames, (H, W) uint8 each.
        camera: the clip's.
        hair_m: how far hair may stand off, metres.
    """
    low, high = points.reshape(-1, 3).min(0).astype(np.float64), points.reshape(-1, 3).max(0).astype(np.float64)
    rotation, translation = head_to_camera(params, camera)
    inverse = np.linalg.inv(np.asarray(camera.K, np.float64))
    seen = []
    for matte, turn, shift in zip(mattes, rotation, translation, strict=True):
        ys, xs = np.nonzero(matte > 127)
        if len(xs) == 0:
            continue
        corners = np.array([[x, y, 1.0] for x in (xs.min(), xs.max() + 1) for y in (ys.min(), ys.max() + 1)])
        # The matte's rectangle at the depth of the head's middle: the outline lies about there.
        middle = turn @ ((low + high) / 2) + shift
        at_depth = corners @ inverse.T * middle[2]
        # Only the extent counts, so the head's turn is left out of it: a turned rectangle would reach too far.
        seen.append(at_depth - middle)
    if seen:
        # The camera's y points down where the head's points up.
        extents = np.stack(seen) * np.array([1.0, -1.0, 0.0])
        center = (low + high) / 2
        low = np.minimum(low, center + np.quantile(extents.min(1), 0.02, axis=0))
        high = np.maximum(high, center + np.quantile(extents.max(1), 0.98, axis=0))
    low, high = low - hair_m * np.array([0.15, 0.1, 0.6]), high + hair_m * np.array([0.15, 0.15, 0.2])
    return Cube(((low + high) / 2).astype(np.float32), float((high - low).max()))


def voxel_centers(grid: int) -> Array:
    """(G³, 3) unit-cube positions of the voxels' centers; x runs slowest, z fastest."""
    axis = (np.arange(grid, dtype=np.float32) + 0.5) / grid
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def dilate(occupied: torch.Tensor, voxels: int) -> torch.Tensor:
    """(G, G, G) bool grown by a cube of `voxels` to each side."""
    grown = occupied.to(torch.int32)
    for axis in range(3):
        # A running sum tells whether a window holds anything, whatever the window's width.
        padding = [0, 0] * (2 - axis) + [voxels + 1, voxels]
        total = torch.nn.functional.pad(grown, padding).cumsum(axis, dtype=torch.int32)
        length = grown.shape[axis]
        ahead = total.narrow(axis, 2 * voxels + 1, length)
        grown = (ahead - total.narrow(axis, 0, length) > 0).to(torch.int32)
    return grown.bool()


def shell(
    points: Array, faces: Array, hairy: Array, cube: Cube, grid: int, shell_m: float, hair_m: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Voxels that lie near the mesh and not deep inside it.

    A voxel belongs to the vertex nearest to it. What stands off forwards, where mattes of a head that hardly turns
    rule nothing out, is held to `shell_m` everywhere.

    Args:
        points: (n, V, 3) head space, metres.
        faces: (F, 3).
        hairy: (V,) bool, vertices that hair may cover.
        grid: voxels along an edge.
        shell_m, hair_m: distances for bare and for hairy vertices, metres.
    Returns:
        (G, G, G) bool, and which of them belong to hairy vertices, (G, G, G) bool.
    """
    voxel = cube.side / grid
    marked = np.zeros((grid,) * 3, bool)
    reach, bearing = np.zeros((grid,) * 3, np.float32), np.zeros((grid,) * 3, bool)
    normals = np.zeros((grid, grid, grid, 3), np.float32)
    outward = ops.vertex_normals(torch.from_numpy(points), torch.from_numpy(faces)).numpy()
    for chosen, distance, bears in ((hairy, hair_m, True), (~hairy, shell_m, False)):
        cells = np.floor(cube.to_unit(points[:, chosen].reshape(-1, 3)) * grid).astype(np.int64)
        inside = ((cells >= 0) & (cells < grid)).all(1)
        place = tuple(cells[inside].T)
        marked[place], reach[place], bearing[place] = True, distance, bears
        normals[place] = outward[:, chosen].reshape(-1, 3)[inside]
    distance, nearest = distance_transform_edt(~marked, return_indices=True)
    index = tuple(nearest)
    offset = (np.indices(marked.shape, np.float32) - nearest.astype(np.float32)) * voxel
    depth = np.einsum("axyz,xyza->xyz", offset, normals[index])
    near = (distance * voxel <= reach[index]) & (depth >= -DEEP_M) & (offset[2] <= shell_m)
    closed = dilate(torch.from_numpy(near), 1)  # closes the slits between coarse vertices
    return closed, closed & torch.from_numpy(bearing[index])


def torso(points: Array, cube: Cube, grid: int, chin_y: float) -> torch.Tensor:
    """(G, G, G) bool: where shoulders can be, everything below the chin that is about as far away as the neck."""
    lowest = points[:, points[0, :, 1] < np.quantile(points[0, :, 1], 0.05)]
    centers = cube.to_head(voxel_centers(grid))
    behind, before = lowest[..., 2].min() - TORSO_M, lowest[..., 2].max() + TORSO_M
    inside = (centers[:, 1] < chin_y) & (centers[:, 2] > behind) & (centers[:, 2] < before)
    return torch.from_numpy(inside.reshape((grid,) * 3))


def carve(
    candidates: torch.Tensor, cube: Cube, mattes: Array, params: HeadParams, camera: Camera,
    counted: Array, chin_y: float,
) -> torch.Tensor:  # fmt: skip
    """The candidates that the mattes do not rule out.

    Args:
        candidates: (G, G, G) bool.
        mattes: (n, H, W) uint8 of the frames in `params`.
        counted: (n, H, W) bool; pixels outside the picture or behind clothes rule nothing out.
        chin_y: height of the chin in head space, metres; below it few frames need to agree.
    Returns:
        (G, G, G) bool.
    """
    # Voxels of twice the edge: the mattes are grown by more than that, and the work falls to an eighth.
    coarse = torch.nn.functional.max_pool3d(candidates[None, None].float(), 2, ceil_mode=True)[0, 0] > 0
    grid = coarse.shape[0]
    index = np.flatnonzero(coarse.numpy().reshape(-1))
    centers = cube.to_head(voxel_centers(grid)[index]).astype(np.float32)
    rotation, translation = head_to_camera(params, camera)
    height, width = counted.shape[1:]
    reach = max(2, int(round(0.012 * width)))  # of the tracking, whose outline is off by some pixels
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    votes = np.zeros(len(index), np.int32)
    inside = np.zeros(len(index), np.int32)
    for matte, valid, turn, shift in zip(mattes, counted, rotation, translation, strict=True):
        grown = cv2.dilate((matte > 25).astype(np.uint8), kernel)
        projected = centers @ (camera.K @ turn).T.astype(np.float32) + (camera.K @ shift).astype(np.float32)
        depth = np.maximum(projected[:, 2], 1e-6)
        u, v = np.floor(projected[:, 0] / depth).astype(np.int64), np.floor(projected[:, 1] / depth).astype(np.int64)
        counts = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        u, v = np.clip(u, 0, width - 1), np.clip(v, 0, height - 1)
        counts &= valid[v, u]
        votes += counts
        inside += counts & (grown[v, u] > 0)
    share = inside / np.maximum(votes, 1)
    kept = np.where(centers[:, 1] >= chin_y, share >= INSIDE, share >= INSIDE_NECK) & (votes > 0)
    carved = np.zeros(grid**3, bool)
    carved[index[kept]] = True
    full = torch.from_numpy(carved.reshape((grid,) * 3))
    for axis in range(3):
        full = full.repeat_interleave(2, axis).narrow(axis, 0, candidates.shape[axis])
    return full & candidates


def hairy_vertices(head: Any) -> Array:
    """(V,) bool: the vertices that hair may cover, scalp and ears, and the neck, which is wider than the mesh's."""
    regions = head.regions
    hairy = np.zeros(head.vertex_count, bool)
    for name in ("scalp", "ears", "neck"):
        if name in regions:
            hairy |= np.asarray(regions[name], bool)
    return hairy


def scalp_vertices(head: Any) -> Array:
    """(V,) bool: the vertices that hair grows from; all of them where the model does not say."""
    region = np.asarray(head.regions.get("scalp", np.ones(head.vertex_count, bool)), bool)
    return region if region.any() else ~region


class Sight:
    """Which voxels training rays have seen: the largest weight that any sample in them had, and the most light.

    Args:
        grid: voxels along an edge.
        device: where it is kept.
    """

    def __init__(self, grid: int, device: str) -> None:
        self.weight = torch.zeros(grid**3, device=device)
        self.light = torch.zeros(grid**3, device=device)
        self.grid = grid

    @torch.no_grad()
    def add(self, positions: torch.Tensor, weights: torch.Tensor, light: torch.Tensor) -> None:
        """Take note of samples.

        Args:
            positions: (N, 3) in the cube.
            weights: (N,) shares of their rays' light that they gave.
            light: (N,) shares of their rays' light that came as far as them.
        """
        cells = (positions * self.grid).to(torch.int64).clamp_(0, self.grid - 1)
        index = (cells[:, 0] * self.grid + cells[:, 1]) * self.grid + cells[:, 2]
        self.weight.scatter_reduce_(0, index, weights, "amax")
        self.light.scatter_reduce_(0, index, light, "amax")

    def cut(self, occupied: torch.Tensor, margin: int, hairy: torch.Tensor) -> torch.Tensor:
        """Keep the occupied voxels that were seen under some expression of training, and those near them.

        What lies hidden inside the head goes as well as what is empty, so samples gather at the surface. Only below
        hair a layer stays that no ray reached: a head that bows or turns further than in training shows it.

        Args:
            occupied: (G, G, G) bool.
            margin: voxels kept around those seen.
            hairy: (G, G, G) bool, where hair can be.
        """
        seen = (self.weight > SEEN).reshape(occupied.shape)
        reached = torch.nn.functional.max_pool3d(self.light.reshape(1, 1, *occupied.shape), 3, 1, 1)[0, 0] > REACHED
        below = dilate(seen, LAYER) & hairy & ~reached
        return (dilate(seen, margin) | below) & occupied
