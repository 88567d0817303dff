"""How far hair stands off the skull, measured where pictures show its outline and carried to where they do not.

A camera that saw a head from the front saw its hair against the background at the sides and on top. What stands behind
it did not see, and a radiance field puts there whatever costs its pictures nothing: fog, streaks, floating crowns. So
the thickness that outlines show is taken, direction by direction from the middle of the scalp, and carried on over the
rest of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, distance_transform_edt

from ...scene import Array, Camera, HeadParams
from .occupancy import voxel_centers
from .rays import Cube, RayFrames

DIRECTIONS = 400
"""Directions from the middle of the scalp that hair is measured in."""
STRIDE = 4
"""Every so many-th column and row of a picture is followed."""
STEPS = 80
"""Places along a ray where the skull's distance is read."""
SPAN = 1.2
"""Length of that part of a ray, in edges of the cube."""
WINDOW_RAD = 0.2
"""Rays that come nearest to the skull within this angle of a direction speak of it, radians."""
ENOUGH = 20
"""Hair ends in a direction where so many rays pass beyond it and see nothing, and was seen where so many saw it."""
USUAL = 0.95
"""Share of the rays that see hair beyond which hair counts as ending, metres off the skull."""
WIDE = 6.0
"""Concentration of the weights by which measured directions speak for others: exp(WIDE * cosine)."""
NARROW = 60.0
"""The same, between the directions themselves."""
COARSE = 32
"""Voxels along an edge of the grid that thickness is laid out on; it changes slowly."""


@dataclass(frozen=True)
class Standoff:
    """A skull and its hair.

    Attributes:
        distance: (G, G, G) metres from the tracked mesh, negative inside it.
        reach: (G, G, G) metres, the most that hair was seen to stand off in the direction of each voxel.
    """

    distance: torch.Tensor
    reach: torch.Tensor


def solid(points: Array, faces: Array, cube: Cube, grid: int) -> Array:
    """(G, G, G) bool: voxels on and inside a mesh that may be open below; points (V, 3) head space, faces (F, 3)."""
    corners = cube.to_unit(points.astype(np.float64))[faces] * grid
    marked = np.zeros((grid,) * 3, bool)
    parts = 1 + int(np.ceil(1.5 * np.quantile(np.ptp(corners, axis=1).max(1), 0.999)))
    for i in range(parts + 1):
        for j in range(parts + 1 - i):
            share = np.array([i, j, parts - i - j]) / parts
            cells = np.floor(np.einsum("k,fkd->fd", share, corners)).astype(np.int64)
            marked[tuple(cells[((cells >= 0) & (cells < grid)).all(1)].T)] = True
    for height in range(grid):  # slices across the neck are closed where the mesh as a whole is not
        marked[:, height] = binary_fill_holes(marked[:, height])
    return marked


def measured(
    points: Array, faces: Array, scalp: Array, cube: Cube, grid: int, mattes: Array, counted: Array,
    params: HeadParams, camera: Camera,
) -> Standoff:  # fmt: skip
    """The standoff that outlines show.

    A ray that misses the skull and sees hair says that there is some at least as far off as it comes near the skull;
    one that sees nothing, that there is none.

    Args:
        points: (V, 3) the mesh at rest, head space, metres.
        faces: (F, 3).
        scalp: (V,) bool, what hair grows from; only what stands off it is carried to other directions.
        cube, grid: the modelled cube and the voxels along its edge.
        mattes: (n, H, W) uint8 of the frames in `params`.
        counted: (n, H, W) bool; pixels outside the picture or behind clothes say nothing.
        camera: the clip's.
    """
    inside = solid(points, faces, cube, grid)
    steps = distance_transform_edt(~inside) - distance_transform_edt(inside)
    distance = (steps * (cube.side / grid)).astype(np.float32)
    unit = cube.to_unit(points)
    middle = unit[scalp].mean(0)
    pattern = _directions(DIRECTIONS)
    bears = scalp[(pattern @ _unit(unit - middle).T).argmax(1)]
    places, closest, full = _passing(distance, cube, mattes, counted, params, camera)
    most, ends = _heights(_unit(places - middle), closest, full, pattern)
    toward = _unit(voxel_centers(COARSE) - middle)
    reach = _laid_out(_carried(most, ends, bears, pattern), pattern, toward, grid)
    return Standoff(torch.from_numpy(distance), reach)


def _passing(
    distance: Array, cube: Cube, mattes: Array, counted: Array, params: HeadParams, camera: Camera
) -> tuple[Array, Array, Array]:
    """Rays that miss the skull: (N, 3) where they come nearest to it, (N,) how near, metres, (N,) bool, seeing hair."""
    grid = distance.shape[0]
    frames = RayFrames.of(params, camera, cube)
    height, width = counted.shape[1:]
    rows, columns = np.meshgrid(np.arange(0, height, STRIDE), np.arange(0, width, STRIDE), indexing="ij")
    pixels = (rows * width + columns).reshape(-1)
    share = SPAN * ((np.arange(STEPS, dtype=np.float32) + 0.5) / STEPS - 0.5)
    half = cube.side / grid / 2
    parts: list[tuple[Array, Array, Array]] = []
    for frame, (matte, valid) in enumerate(zip(mattes, counted, strict=True)):
        chosen = pixels[valid.reshape(-1)[pixels]]
        origins, directions, _ = (part.numpy() for part in frames.rays(frame, torch.from_numpy(chosen), width))
        along = np.linalg.norm(origins - 0.5, axis=1)[:, None] + share
        places = origins[:, None] + along[..., None] * directions[:, None]
        cells = np.floor(places * grid).astype(np.int64)
        within = ((cells >= 0) & (cells < grid)).all(2)
        x, y, z = np.clip(cells, 0, grid - 1).transpose(2, 0, 1)
        found = np.where(within, distance[x, y, z], np.inf)
        closest = found.min(1)
        misses = (closest > 0) & np.isfinite(closest)
        places, found, closest = places[misses], found[misses], closest[misses]
        equal = found <= closest[:, None] + half  # a ray runs along the skull for a while: the middle of that
        places = (places * equal[..., None]).sum(1) / equal.sum(1, keepdims=True)
        parts.append((places, closest, matte.reshape(-1)[chosen][misses] > 127))
    places, closest, full = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return places, closest, full


def _heights(toward: Array, closest: Array, full: Array, pattern: Array) -> tuple[Array, Array]:
    """(D,) metres that hair at most stands off in each direction, 0 where too few rays saw any; and (D,) bool, whether
    it was seen to end there."""
    most, ends = np.zeros(len(pattern)), np.zeros(len(pattern), bool)
    toward = toward.astype(np.float32)
    for one, direction in enumerate(pattern.astype(np.float32)):
        near = toward @ direction > np.cos(WINDOW_RAD)
        mine = closest[near & full]
        if len(mine) >= ENOUGH:
            most[one] = mine.max()
            ends[one] = (closest[near & ~full] > np.quantile(mine, USUAL)).sum() >= ENOUGH
    return most, ends


def _carried(heights: Array, ends: Array, bears: Array, pattern: Array) -> Array:
    """(D,) heights, at least those of directions that hair was seen to end in where it was not seen to end."""
    known = ends & bears
    if not known.any():
        return heights
    return np.where(ends, heights, np.maximum(_spoken_for(pattern[known], heights[known], pattern, WIDE), heights))


def _laid_out(heights: Array, pattern: Array, toward: Array, grid: int) -> torch.Tensor:
    """(G, G, G) heights (D,) of directions (D, 3), from those of the coarse voxels, (COARSE³, 3)."""
    coarse = torch.from_numpy(_spoken_for(pattern, heights, toward, NARROW)).reshape(1, 1, COARSE, COARSE, COARSE)
    return torch.nn.functional.interpolate(coarse, size=(grid,) * 3, mode="trilinear")[0, 0]


def _spoken_for(pattern: Array, heights: Array, toward: Array, width: float) -> Array:
    """(N,) float32 mean of heights (D,) in directions (D, 3), weighted by nearness to directions (N, 3)."""
    weights = np.exp(width * (toward @ pattern.T - 1)).astype(np.float32)
    found: Array = (weights @ heights.astype(np.float32)) / np.maximum(weights.sum(1), 1e-20)
    return found


def _directions(count: int) -> Array:
    """(count, 3) unit vectors, even over the sphere."""
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], 1)


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return unit
