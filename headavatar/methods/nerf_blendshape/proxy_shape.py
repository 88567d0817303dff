"""Where a head's sides and back lie, as far as training tells: a solid that its frames leave standing.

The skull with hair as thick as outlines show it, less whatever frames saw to be empty: background beside it, and the
air before a surface. Below a surface that training saw face on the solid begins a little deeper, so that the field
shows there; where it saw it at a grazing angle only, or not at all, the solid is the surface.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from ...scene import Array
from .geometry import largest_piece
from .occupancy import voxel_centers
from .rays import Cube
from .sightings import Sightings
from .standoff import Standoff

CLEAR, OPAQUE = 0.3, 0.7
"""A pixel with less alpha shows background, with more a surface."""
BESIDE, LOOKS = 0.5, 2
"""A voxel goes where more than the first, of those frames that see background or a surface at it, and at least so many
see background. Those that only see something before it do not count: few bow far enough to look over a crown."""
BEFORE = 0.1
"""A voxel before a surface stays while no larger share of frames sees it there: faces move."""
FACING = (0.2, 0.6)
"""Cosines from which on a surface is known a little, and fully."""
INSET_M = 0.008
"""How far below a surface that is fully known the solid begins, metres."""
SLACK_M = 0.008
"""Hair may stand off further than was seen by this much, metres: tracking is no better."""
HAIR_M, SHEET_M, OFTEN = 0.12, 0.016, 0.5
"""Within the first, metres from the tracked mesh, what more than this share of frames sees as a surface is solid for so
many metres behind it, however far hair was seen to stand off: it hangs beside a neck."""
COARSE = 2
"""Voxels of the occupancy grid along an edge of the solid's."""
EVEN = 1.2
"""The solid is smoothed by this standard deviation, in its voxels."""
TRUST, NEAR_M = (0.3, 0.7, 1.0), (0.015, 0.015, 0.035)
"""So well vertices are known, and so far off them, metres, the field shows: faces move, what stands off hair is fog."""


def known(facing: Array) -> Array:
    """How well surfaces are known that were seen at these cosines, 0 to 1."""
    found: Array = np.clip((facing - FACING[0]) / (FACING[1] - FACING[0]), 0, 1)
    return found


def solid(standoff: Standoff, seen: Sightings, chin_y: float, end_y: float) -> Array:
    """How much of each voxel is head, smoothed.

    Args:
        standoff: the skull and how far its hair was seen to stand off.
        seen: pictures of training frames.
        chin_y, end_y: heights of the chin and of the neck's end in head space, metres.
    Returns:
        (g, g, g) in [0, 1], of coarse voxels of the neutral head.
    """
    grid = standoff.distance.shape[0]
    heights = torch.from_numpy(seen.cube.to_head(voxel_centers(grid))[:, 1]).reshape((grid,) * 3)
    taper = ((heights - end_y) / max(chin_y - end_y, 1e-3)).clamp(0, 1)  # where a neck ends there are shoulders
    inside = (standoff.distance <= standoff.reach * taper + SLACK_M) & (heights >= end_y)
    near = standoff.distance[None, None] < HAIR_M
    share = torch.nn.functional.avg_pool3d(inside[None, None].float(), COARSE, ceil_mode=True)[0, 0].numpy()
    asked = torch.nn.functional.max_pool3d(near.float(), COARSE, ceil_mode=True).reshape(-1).numpy() > 0
    index = np.flatnonzero(asked)
    empty, surface = _told(voxel_centers(share.shape[0])[index], seen)
    left = np.zeros(share.size, np.float32)
    left[index] = np.where(surface, 1, np.where(empty, 0, share.reshape(-1)[index]))
    smooth: Array = gaussian_filter(left.reshape(share.shape), EVEN)
    return smooth


def _told(places: Array, seen: Sightings) -> tuple[Array, Array]:
    """(N,) bool, which places frames see to be empty, and (N,) bool, in which they see a surface."""
    counted, beside, before, surface = (np.zeros(len(places), np.int32) for _ in range(4))
    for glance in seen.of_points(places):
        at, top, opaque = glance.index, INSET_M * known(glance.facing), glance.alpha > OPAQUE
        counted[at] += 1
        beside[at] += glance.alpha < CLEAR
        before[at] += opaque & (glance.behind < top)
        surface[at] += opaque & (glance.behind >= top) & (glance.behind < top + SHEET_M)
    empty = (beside >= LOOKS) & (beside > BESIDE * (beside + surface))
    return empty | (before > BEFORE * counted), surface > OFTEN * counted


def mesh(volume: Array) -> tuple[Array, Array]:
    """The largest piece of a solid's surface: (V, 3) cube units and (F, 3), counterclockwise from outside."""
    if not volume.max() > 0.5:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64)
    vertices, faces, _, _ = marching_cubes(np.pad(volume, 1), 0.5)
    used, faces = largest_piece(faces[:, ::-1].astype(np.int64), len(vertices))
    return ((vertices[used] - 0.5) / volume.shape[0]).astype(np.float32), np.ascontiguousarray(faces)


def trusted(occupied: torch.Tensor, cube: Cube, vertices: Array, trust: Array, end_y: float) -> torch.Tensor:
    """Where the field shows in front of a proxy.

    Args:
        occupied: (G, G, G) bool.
        cube: the modelled cube.
        vertices: (V, 3) cube units; trust (V,) how well they are known, 0 to 1.
        end_y: height of the neck's end in head space, metres.
    Returns:
        (G, G, G) bool: occupied voxels near vertices that are known.
    """
    index = np.flatnonzero(occupied.cpu().numpy().reshape(-1))
    places = voxel_centers(occupied.shape[0])[index]
    away, nearest = cKDTree(vertices).query(places)
    reach = np.where(trust > TRUST[0], np.interp(trust, TRUST, NEAR_M), 0.0)
    shows = (away * cube.side < reach[nearest]) & (cube.to_head(places)[:, 1] >= end_y)
    found = np.zeros(occupied.numel(), bool)
    found[index[shows]] = True
    return torch.from_numpy(found.reshape(occupied.shape)).to(occupied.device)
