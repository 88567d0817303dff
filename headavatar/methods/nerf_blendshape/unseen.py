"""What no frame of training shows, and what of it an avatar's rays may go on through.

The fit cuts the occupancy grid to what its own rays see, so that samples gather there. At poses beyond training light
comes through such a surface where it was cut close behind, and ends at a neck that a collar always covered. What the
training frames leave hidden is known to neither be empty nor be anything else, so there the field may speak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ...scene import Array, Camera, HeadParams
from .occupancy import REACHED, dilate, voxel_centers
from .rays import head_to_camera

if TYPE_CHECKING:
    from .avatar import NerfBlendshapeAvatar

LOOKS = 32
"""Frames of training that are looked at."""
BEHIND_M = 0.004
"""What lies this far behind a surface is hidden by it, metres."""
LAYER = 4
"""Hidden voxels back occupied ones this near."""
NECK = 4
"""So many hidden voxels below occupied ones a neck goes on."""


def completed(
    avatar: NerfBlendshapeAvatar, params: HeadParams, camera: Camera, counted: Array, bare: torch.Tensor, chin_y: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Occupied and backing voxels of a fitted avatar, with what training left hidden.

    Args:
        avatar: as its fit left it.
        params: (n,) frames of training that differ.
        camera: the clip's.
        counted: (n, H, W) bool, false outside the picture and where clothes hide the head.
        bare: (G, G, G) bool, voxels that the mattes allow and no hair can be in: below hair the fit keeps a layer of
            its own, and more of it would show through the outline.
        chin_y: height of the chin in head space, metres.
    Returns:
        (G, G, G) bool occupied voxels, which now go on below the neck's end, and (G, G, G) bool voxels that back them.
    """
    occupied = avatar.occupied
    grid = occupied.shape[0]
    below = occupied.clone()
    for step in range(1, NECK + 1):
        below[:, :-step] |= occupied[:, step:]
    heights = avatar.cube.to_head(voxel_centers(grid))[:, 1].reshape((grid,) * 3)
    below &= torch.from_numpy(heights < chin_y).to(occupied.device)
    near = dilate(occupied, LAYER) & bare
    unseen = hidden(avatar, params, camera, counted, (near | below) & ~occupied)
    neck = below & unseen
    return occupied | neck, near & unseen & ~neck


def hidden(
    avatar: NerfBlendshapeAvatar, params: HeadParams, camera: Camera, counted: Array, asked: torch.Tensor
) -> torch.Tensor:
    """Which voxels no frame's light comes to, by the avatar's own opacities and depths.

    Args:
        avatar, params, camera, counted: as for `completed`.
        asked: (G, G, G) bool; others are not hidden.
    Returns:
        (G, G, G) bool.
    """
    grid, (height, width) = asked.shape[0], counted.shape[1:]
    index = np.flatnonzero(asked.cpu().numpy().reshape(-1))
    centers = avatar.cube.to_head(voxel_centers(grid)[index]).astype(np.float32)
    reached = np.zeros(len(index), bool)
    rotation, translation = head_to_camera(params, camera)
    for frame, (turn, shift) in enumerate(zip(rotation, translation, strict=True)):
        seen = avatar.render(params[frame], camera)
        projected = centers @ (camera.K @ turn).T.astype(np.float32) + (camera.K @ shift).astype(np.float32)
        away = np.maximum(projected[:, 2], 1e-6)
        u, v = np.floor(projected[:, 0] / away).astype(np.int64), np.floor(projected[:, 1] / away).astype(np.int64)
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height) & (projected[:, 2] > 0)
        u, v = np.clip(u, 0, width - 1), np.clip(v, 0, height - 1)
        light = np.where(projected[:, 2] > seen.depth[v, u] + BEHIND_M, 1 - seen.alpha[v, u], 1.0)
        reached |= inside & counted[frame, v, u] & (light > REACHED)
    found = np.zeros(grid**3, bool)
    found[index] = ~reached
    return torch.from_numpy(found.reshape((grid,) * 3)).to(asked.device)
