"""The published occupancy grid: where the field is dense, under the neutral face or any one expression at its most.

Source: Gao et al. 2022, section 4.2 (expression-aware density grid update). Here candidates are the voxels that the
mattes allow, and the density that is compared is the one that rays see, softplus and shift included.
"""

from __future__ import annotations

import torch

from ... import ops
from .field import HARMONICS, Field

DECAY = 0.9
"""What is left of an older value at a refresh."""
START = 1e-3
DENSE = 4.0
"""Densities above this are occupied whatever the mean is, per metre."""
CHUNK = 1 << 18


class DensityGrid:
    """Densities of voxels, the most that any expression gives.

    Args:
        candidates: (G, G, G) bool; other voxels stay empty.
    """

    def __init__(self, candidates: torch.Tensor) -> None:
        self.candidates = candidates
        self.density = torch.full(candidates.shape, START, device=candidates.device)

    @torch.no_grad()
    def refresh(self, field: Field, extremes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Ask the field again.

        Args:
            field: as it stands.
            extremes: (n, K) coefficients to ask under: neutral, and each expression at its most.
            generator: of the places within the voxels.
        Returns:
            (G, G, G) bool, what is occupied now.
        """
        grid = self.density.shape[0]
        index = torch.nonzero(self.candidates.reshape(-1))[:, 0]
        cells = torch.stack([index // grid**2, index // grid % grid, index % grid], 1).float()
        noise = torch.rand(cells.shape, generator=generator).to(cells.device)
        places = (cells + noise) / grid
        most = torch.zeros(len(places), device=places.device)
        directions = ops.spherical_harmonics(torch.tensor([[0.0, 0.0, 1.0]], device=places.device), HARMONICS)
        for coefficients in extremes:
            blended = ops.blend_tables(coefficients[None], field.tables)
            for chunk in torch.arange(len(places), device=places.device).split(CHUNK):
                rays = torch.zeros(len(chunk), dtype=torch.int32, device=places.device)
                sigma, _ = ops.nerf_field(
                    places[chunk], blended, directions, rays, field.sigma_weights, field.color_weights, field.spec,
                    frame_offsets=torch.tensor([0, len(chunk)]), density_shift=field.density_shift,
                )  # fmt: skip
                most[chunk] = torch.maximum(most[chunk], sigma * field.density_scale)
        candidate = torch.zeros_like(self.density).reshape(-1)
        candidate[index] = most
        grown = torch.nn.functional.max_pool3d(candidate.reshape(1, 1, grid, grid, grid), 2, stride=1, padding=1)
        pooled = grown[0, 0, :grid, :grid, :grid]
        self.density = torch.maximum(DECAY * self.density, pooled) * self.candidates
        inside = self.density[self.candidates]
        threshold = min(DENSE, float(inside.mean())) if len(inside) else DENSE
        return self.density > threshold
