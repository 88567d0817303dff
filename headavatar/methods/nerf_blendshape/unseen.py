"""What no frame of training shows, and what of it an avatar's rays may go on through.

The fit cuts the occupancy grid to what its own rays see, so that samples gather there. At poses beyond training light
comes through such a surface where it was cut close behind. What the training frames leave hidden is known to neither
be empty nor be anything else, so there the field may speak.
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


def backing(occupied: torch.Tensor, seen: Sightings, bare: torch.Tensor) -> torch.Tensor:
    """Voxels behind those of a fitted avatar that training left hidden.

    Args:
        occupied: (G, G, G) bool, as the fit left them.
        seen: frames of training that differ.
        bare: (G, G, G) bool, voxels that the mattes allow and no hair can be in: below hair the fit keeps a layer of
            its own, and more of it would show through the outline.
    Returns:
        (G, G, G) bool.
    """
    return hidden(seen, dilate(occupied, LAYER) & bare & ~occupied)


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
