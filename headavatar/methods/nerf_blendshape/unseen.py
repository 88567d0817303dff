"""What no frame of training shows, and what of it an avatar's rays may go on through.

The fit cuts the occupancy grid to what its own rays see, so that samples gather there. At poses beyond training light
comes through such a surface where it was cut close behind, and ends at a neck that a collar always covered. What the
training frames leave hidden is known to neither be empty nor be anything else, so there the field may speak.
"""

from __future__ import annotations

import numpy as np
import torch

from .occupancy import REACHED, dilate, voxel_centers
from .sightings import Sightings

BEHIND_M = 0.004
"""What lies this far behind a surface is hidden by it, metres."""
LAYER = 4
"""Hidden voxels back occupied ones this near."""
NECK = 4
"""So many hidden voxels below occupied ones a neck goes on."""


def completed(
    occupied: torch.Tensor, seen: Sightings, bare: torch.Tensor, chin_y: float
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Occupied and backing voxels of a fitted avatar, with what training left hidden.

    Args:
        occupied: (G, G, G) bool, as the fit left them.
        seen: frames of training that differ.
        bare: (G, G, G) bool, voxels that the mattes allow and no hair can be in: below hair the fit keeps a layer of
            its own, and more of it would show through the outline.
        chin_y: height in head space, metres, below which a neck may go on.
    Returns:
        (G, G, G) bool occupied voxels, which now go on below the neck's end, and (G, G, G) bool voxels that back them.
    """
    grid = occupied.shape[0]
    below = occupied.clone()
    for step in range(1, NECK + 1):
        below[:, :-step] |= occupied[:, step:]
    heights = seen.cube.to_head(voxel_centers(grid))[:, 1].reshape((grid,) * 3)
    below &= torch.from_numpy(heights < chin_y).to(occupied.device)
    near = dilate(occupied, LAYER) & bare
    unseen = hidden(seen, (near | below) & ~occupied)
    neck = below & unseen
    return occupied | neck, near & unseen & ~neck


def hidden(seen: Sightings, asked: torch.Tensor) -> torch.Tensor:
    """(G, G, G) bool: which of the voxels asked for no frame's light comes to, by its opacities and depths."""
    index = np.flatnonzero(asked.cpu().numpy().reshape(-1))
    reached = np.zeros(len(index), bool)
    for glance in seen.of_voxels(voxel_centers(asked.shape[0])[index]):
        light = np.where(glance.behind > BEHIND_M, 1 - glance.alpha, 1.0)
        reached[glance.index] |= light > REACHED
    found = np.zeros(asked.numel(), bool)
    found[index] = ~reached
    return torch.from_numpy(found.reshape(asked.shape)).to(asked.device)
