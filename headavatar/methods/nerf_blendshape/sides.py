"""Views that no camera had: from the sides a head must be as opaque as its skull and hair are thick.

Training's pictures say nothing of the back of a head that never turned, so its field is empty or fog there, and an
orbit looks through it. Rays from around the head, without colors, are told where they must not come out again. They
run through voxels of their own, so that training's rays are sampled as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from .field import Field, Posed
from .marching import shade
from .rays import Cube
from .standoff import SURELY, Standoff

YAW_RAD, PITCH_RAD = 0.95, 0.55
"""How far to either side of the face, and up and down, eyes are placed."""
DEEP_M = 0.01
"""A ray that runs through skull and hair for as long as this must end there, metres."""
LAYER_M = 0.012
"""How deep below the surface of what is surely head it is modelled, metres."""
PROBES, SPAN = 96, 1.8
"""Pieces of a ray that are looked up, and their length together, in edges of the cube."""
FROM = 0.3
"""Share of the steps after which these rays join, when the field has taken shape."""
WEIGHT = 0.2
"""Weight of the light that comes out of the head, in terms of the color's."""
SPREAD = 0.1
"""Weight of the metres between places that these rays' light comes from."""


@dataclass(frozen=True)
class Sides:
    """Rays from around a head, and what is known of them.

    Attributes:
        core: (G, G, G) bool, voxels that are surely head.
        layer: (G, G, G) bool, voxels that these rays may see something in.
        cube: the modelled cube.
        away: distance of the eyes from its middle, in its edges.
    """

    core: torch.Tensor
    layer: torch.Tensor
    cube: Cube
    away: float

    @staticmethod
    def of(standoff: Standoff, hull: torch.Tensor, cube: Cube, origins: torch.Tensor) -> Sides:
        """The sides of a head.

        Args:
            standoff: its skull and hair.
            hull: (G, G, G) bool, where it can be.
            cube: the modelled cube.
            origins: (T, 3) training's camera centers, cube units.
        """
        below = standoff.distance <= SURELY * standoff.thickness - LAYER_M
        away = float((origins - 0.5).norm(dim=1).median())
        return Sides(standoff.core.to(hull.device), hull & ~below.to(hull.device), cube, away)

    def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(count, 3) origins and unit directions in the cube, and (count,) bool, which must be opaque."""
        device, grid = self.core.device, self.core.shape[0]
        noise = torch.rand(count, 6, generator=generator).to(device)
        yaw, pitch = YAW_RAD * (2 * noise[:, 0] - 1), PITCH_RAD * (2 * noise[:, 1] - 1)
        toward = torch.stack([pitch.cos() * yaw.sin(), pitch.sin(), pitch.cos() * yaw.cos()], 1)
        origins = 0.5 + self.away * toward
        voxel = self._aims[(noise[:, 2] * len(self._aims)).long().clamp_max(len(self._aims) - 1)]
        directions = torch.nn.functional.normalize((voxel + noise[:, 3:]) / grid - origins, dim=1)
        return origins, directions, self._deep(origins, directions)

    def loss(
        self, field: Field, posed: Posed, occupied: torch.Tensor, settings: Any, generator: torch.Generator,
        jitter: tuple[int, int],
    ) -> torch.Tensor:  # fmt: skip
        """What the rays of a step from the sides cost.

        Args:
            field, posed: the field, and what one frame makes of it.
            occupied: (G, G, G) bool, where training's rays see something.
            settings: those of the fit.
            generator: of the rays.
            jitter: (seed, step) that place the samples.
        """
        origins, directions, deep = self.draw(settings.side_rays, generator)
        seen = shade(
            field, posed, origins, directions, [len(origins)], occupied | self.layer, samples=settings.samples,
            cube_side=self.cube.side, spacing_m=settings.spacing_mm / 1000, jitter=jitter, spread=True,
        )  # fmt: skip
        return WEIGHT * ((1 - seen.alpha) * deep).mean() + SPREAD * seen.spread.mean()

    @cached_property
    def _aims(self) -> torch.Tensor:
        """(N, 3) indices of the voxels that rays are aimed at, the middle one where there are none."""
        found = torch.nonzero(self.layer)
        return found if len(found) else found.new_full((1, 3), self.core.shape[0] // 2)

    def _deep(self, origins: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        grid, piece = self.core.shape[0], SPAN / PROBES
        along = self.away + (torch.arange(PROBES, device=self.core.device) + 0.5 - PROBES / 2) * piece
        cells = ((origins[:, None] + along[:, None] * directions[:, None]) * grid).floor().long()
        x, y, z = cells.clamp(0, grid - 1).unbind(2)
        through = (self.core[x, y, z] & ((cells >= 0) & (cells < grid)).all(2)).sum(1)
        return through * (piece * self.cube.side) >= DEEP_M
