"""Where a head without clothes ends: at the neckline that training saw it end at.

Clothes hide the lower neck in most frames, and what is hidden teaches the field nothing: there it is ragged blocks in a
shirt's colors. A driven head shows them, since no collar is drawn over it. So a picture shows of a place as much as
training's frames did, smoothly, and the neck ends as if the collar had cut it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ... import ops
from ...scene import Array
from .occupancy import REACHED, dilate, voxel_centers
from .rays import Cube
from .sightings import Sightings
from .unseen import BEHIND_M

LOOKS = 64
"""Frames of training that are asked what they show."""
AROUND = 2
"""Voxels this near to occupied ones are asked about: a picture's surface lies between voxels."""
SMOOTH = 1.5
"""Standard deviation of the smoothing, voxels."""
SHOWN = (0.01, 0.08)
"""Of the frames whose light comes to a place, the share that show it rather than clothes: from which on it is there at
all, and fully. With more, holdout frames whose collars hang low lose more than they need to."""
FULL = 255


@dataclass(frozen=True)
class Neckline:
    """How much of what lies low in the cube is shown.

    Attributes:
        shown: (G, K, G) uint8, of `FULL`, in the K lowest of the G layers of voxels; the topmost of these are full, as
            is all above them.
    """

    shown: torch.Tensor

    @staticmethod
    def of(
        occupied: torch.Tensor, cube: Cube, looks: Iterable[tuple[Sightings, Array]], chin_y: float
    ) -> Neckline | None:  # fmt: skip
        """The neckline of a fitted head that stands upright in its cube; None where clothes hide nothing of it.

        Args:
            occupied: (G, G, G) bool.
            cube: the modelled cube.
            looks: the head's pictures of some frames of training, and (n, H, W) bool where clothes hide it in them.
            chin_y: height in head space, metres, above which all is shown.
        """
        grid = occupied.shape[0]
        low = cube.to_head(voxel_centers(grid))[:, 1] < chin_y
        index = np.flatnonzero(dilate(occupied, AROUND).cpu().numpy().reshape(-1) & low)
        places = voxel_centers(grid)[index]
        shows, hides = np.zeros(len(index)), np.zeros(len(index))
        for seen, clothes in looks:
            shows += _reached(seen, places)
            hides += _reached(seen.where(clothes), places)
        if not hides.any():
            return None
        top = int(np.unravel_index(index, (grid,) * 3)[1].max()) + 1
        layers = min(grid, top + int(np.ceil(4 * SMOOTH)) + 1)
        known = np.zeros((2, grid**3))
        known[:, index] = shows, hides
        known = known.reshape(2, grid, grid, grid)[:, :, :layers]
        # Light that comes nowhere near says nothing of a place: the back of a neck ends as its sides do.
        nearest = distance_transform_edt(known.sum(0) == 0, return_distances=False, return_indices=True)
        known = known[(slice(None), *nearest)]
        known[0, :, top:], known[1, :, top:] = max(shows.max(), 1), 0
        shows, hides = (gaussian_filter(part, SMOOTH, mode="nearest") for part in known)
        begin, full = SHOWN
        share = np.clip((shows / np.maximum(shows + hides, 1e-9) - begin) / (full - begin), 0, 1)
        smooth = share * share * (3 - 2 * share)
        return Neckline(torch.from_numpy((FULL * smooth + 0.5).astype(np.uint8)).to(occupied.device))

    @staticmethod
    def from_tensors(tensors: Mapping[str, torch.Tensor], occupied: torch.Tensor) -> Neckline | None:
        """That of an avatar's tensors, None where there is none.

        Raises:
            ValueError: it does not lie in the `occupied` voxels' grid.
        """
        shown = tensors.get("neckline")
        if shown is None:
            return None
        grid = occupied.shape[0]
        if shown.dtype != torch.uint8 or shown.ndim != 3 or shown.shape[::2] != (grid, grid) or shown.shape[1] > grid:
            raise ValueError(f"a neckline of {tuple(shown.shape)} in a grid of {grid}")
        return Neckline(shown)

    @cached_property
    def _volume(self) -> torch.Tensor:
        return self.shown.float()[None, None] / FULL

    def share(self, places: torch.Tensor) -> torch.Tensor:
        """(N,) 0 to 1, how much is shown of (N, 3) places of the cube."""
        grid, layers = self.shown.shape[0], self.shown.shape[1]
        sizes = torch.tensor([grid, layers, grid], dtype=places.dtype, device=places.device)
        across = 2 * (places * grid - 0.5) / (sizes - 1) - 1
        asked = across.flip(1).reshape(1, 1, 1, -1, 3)
        found = torch.nn.functional.grid_sample(self._volume, asked, padding_mode="border", align_corners=True)
        return found.reshape(-1)

    def cut(self, seen: ops.Composite, origins: torch.Tensor, directions: torch.Tensor) -> ops.Composite:
        """What is shown of what R rays saw, (3,) or (R, 3) origins and (R, 3) unit directions in the cube."""
        distance = (seen.depth / seen.alpha.clamp_min(1e-6)).detach()
        top = self.shown.shape[1] / self.shown.shape[0]
        heights = origins[..., 1] + distance * directions[:, 1]
        low = torch.nonzero((heights < top) & (seen.alpha > 0))[:, 0]
        if len(low) == 0:
            return seen
        starts = origins if origins.ndim == 1 else origins[low]
        share = torch.ones_like(seen.alpha)
        share[low] = self.share((starts + distance[low, None] * directions[low]).detach())
        return ops.Composite(seen.rgb * share[:, None], seen.alpha * share, seen.depth * share)

    def within(self, occupied: torch.Tensor) -> torch.Tensor:
        """(G, G, G) bool: which occupied voxels are shown, half or more of each."""
        found = occupied.clone()
        found[:, : self.shown.shape[1]] &= self.shown > FULL // 2
        return found


def _reached(seen: Sightings, places: Array) -> Array:
    """(N,) in how many pictures light of counted pixels comes to (N, 3) places."""
    found = np.zeros(len(places))
    for glance in seen.of_voxels(places):
        found[glance.index] += np.where(glance.behind > BEHIND_M, 1 - glance.alpha, 1.0) > REACHED
    return found
