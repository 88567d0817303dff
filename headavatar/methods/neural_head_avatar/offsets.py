"""How far each vertex stands off the head model: one shape for the whole clip, and what the neck's turn adds.

Two ways to hold it. `SmoothOffsets` are free vectors seen through a smoothing solve, so that a gradient at the outline
moves a whole lock of hair. `SirenOffsets` are the published network over the surface.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .siren import OMEGA, FilmSiren

Solve = Callable[[Tensor], Tensor]


class Offsets(Protocol):
    """Offsets of V vertices at rest, metres, head space."""

    def static(self) -> Tensor:
        """(V, 3) with the neck unturned."""

    def __call__(self, neck: Tensor) -> Tensor:
        """(B, V, 3) of frames whose neck turns by (B, 3), axis-angle."""

    @property
    def parameters(self) -> list[Tensor]: ...

    def state(self) -> dict[str, Tensor]: ...


class SmoothOffsets:
    """Free vectors, smoothed: offset = (I + λL)⁻¹ latent, and the same times each component of the neck's turn.

    Args:
        latent: (V, 3).
        neck_latent: (3, V, 3) per radian of the neck's turn about x, y, z.
        movable, neck_weight: (V, 1) in [0, 1].
        solve: the smoothing.
    Source:
        Nicolet et al., Large Steps in Inverse Rendering of Geometry, 2021, equation 12.
    """

    kind = "smooth"

    def __init__(self, latent: Tensor, neck_latent: Tensor, movable: Tensor, neck_weight: Tensor, solve: Solve) -> None:
        self.latent, self.neck_latent = latent, neck_latent
        self.movable, self.neck_weight, self.solve = movable, neck_weight, solve

    @staticmethod
    def fresh(movable: Tensor, neck_weight: Tensor, solve: Solve) -> SmoothOffsets:
        count = len(movable)
        zeros = movable.new_zeros
        return SmoothOffsets(zeros(count, 3), zeros(3, count, 3), movable, neck_weight, solve)

    def static(self) -> Tensor:
        return self.solve(self.latent) * self.movable

    def __call__(self, neck: Tensor) -> Tensor:
        by_axis = torch.stack([self.solve(part) for part in self.neck_latent]) * self.neck_weight * self.movable
        return self.static() + torch.einsum("bk,kvc->bvc", neck, by_axis)

    @property
    def parameters(self) -> list[Tensor]:
        return [self.latent, self.neck_latent]

    def state(self) -> dict[str, Tensor]:
        return {"offsets.latent": self.latent, "offsets.neck_latent": self.neck_latent}


class SirenOffsets:
    """The published network: coordinates and features of each vertex to an offset, the neck's rotation its condition.

    Args:
        coordinates: (V, 3) at rest, in [-1, 1].
        features: (V, 32) learned.
        siren: of 128 sines in six layers.
        last: (3, 128) weight and (3,) bias, zero at the start.
        movable, neck_weight: (V, 1) in [0, 1].
    Source:
        Grassal et al., Neural Head Avatars from Monocular RGB Videos, 2022, section 3.1.
    """

    kind = "siren"
    FEATURES, WIDTH, LAYERS = 32, 128, 6
    REACH_M = 0.1
    """What the tanh of the last layer reaches."""

    def __init__(
        self, coordinates: Tensor, features: Tensor, siren: FilmSiren, last: tuple[Tensor, Tensor], movable: Tensor,
        neck_weight: Tensor,
    ) -> None:  # fmt: skip
        self.coordinates, self.features, self.siren, self.last = coordinates, features, siren, last
        self.movable, self.neck_weight = movable, neck_weight
        self._on_neck = torch.nonzero(neck_weight[:, 0] > 1e-3)[:, 0]

    @staticmethod
    def fresh(
        rest: Tensor, movable: Tensor, neck_weight: Tensor, generator: torch.Generator, device: str = "cpu"
    ) -> SirenOffsets:
        """Random weights over the vertices' rest positions (V, 3)."""
        cls = SirenOffsets
        low, high = rest.amin(0), rest.amax(0)
        coordinates = (rest - (low + high) / 2) / (high - low).max() * 2
        features = torch.randn(len(rest), cls.FEATURES, generator=generator).to(device) * 0.01
        omega = torch.cat([torch.full((3,), OMEGA / 3), torch.ones(cls.FEATURES)])
        siren = FilmSiren.fresh(
            3 + cls.FEATURES, cls.WIDTH, cls.LAYERS, 9, mapping_width=64, omega=omega, generator=generator,
            device=device,
        )  # fmt: skip
        last = torch.zeros(3, cls.WIDTH, device=device), torch.zeros(3, device=device)
        return SirenOffsets(coordinates, features, siren, last, movable, neck_weight)

    def _at(self, turn: Tensor, chosen: Tensor | None = None) -> Tensor:
        x = torch.cat([self.coordinates, self.features], 1)
        x = self.siren.run(self.siren.films(turn.reshape(9)), x if chosen is None else x[chosen])
        return torch.nn.functional.linear(x, *self.last).tanh() * self.REACH_M

    def static(self) -> Tensor:
        return self._at(torch.eye(3, device=self.coordinates.device)) * self.movable

    def __call__(self, neck: Tensor) -> Tensor:
        from ...head.rotations import axis_angle_to_matrix

        static, chosen = self.static(), self._on_neck
        share = (self.neck_weight * self.movable)[chosen]
        frames = []
        for turn in axis_angle_to_matrix(neck):
            change = (self._at(turn, chosen) * self.movable[chosen] - static[chosen]) * share
            frames.append(static.index_add(0, chosen, change))
        return torch.stack(frames)

    @property
    def parameters(self) -> list[Tensor]:
        return [self.features, *self.siren.parameters, *self.last]

    def state(self) -> dict[str, Tensor]:
        return {f"offsets.{i}": tensor for i, tensor in enumerate(self.parameters)}
