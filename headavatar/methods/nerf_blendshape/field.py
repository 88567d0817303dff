"""The blended radiance field: its parameters, and how samples along rays become pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ... import ops

DENSITY_SCALE = 250.0
"""Densities are per 4 mm: a surface is opaque within a voxel before the network's output must grow large."""

DENSITY_SHIFT = -3.0
"""Added to the density network's output: a volume starts transparent."""

PUBLISHED_SIDE = 0.12
"""Edge of the published cube in its own unit of length, the one that its densities are per."""

HARMONICS = 4
"""Bands of spherical harmonics of the view direction."""


@dataclass(frozen=True)
class Posed:
    """What some frames make of a field.

    Attributes:
        blended: (B, P) one table per frame.
        warp: (B, nodes³ · 4) what their points are moved by before they are looked up; None where nothing moves.
    """

    blended: torch.Tensor
    warp: torch.Tensor | None = None


@dataclass
class Field:
    """Tables and networks.

    Attributes:
        spec: the hash grid.
        tables: (K, P) the neutral table, then one per moving coefficient.
        sigma_weights: matrices (out, in) of the density network; its output is the raw density and geometry features.
        color_weights: matrices (out, in) of the color network.
        density_scale: of softplus(output + density_shift), per metre.
        density_shift: of the density network's output.
    """

    spec: ops.HashGridSpec
    tables: torch.Tensor
    sigma_weights: list[torch.Tensor]
    color_weights: list[torch.Tensor]
    density_scale: float = DENSITY_SCALE
    density_shift: float = DENSITY_SHIFT

    @staticmethod
    def fresh(tables: int, settings: Any, side_m: float, generator: torch.Generator, device: str) -> Field:
        """A field before training in a cube of `side_m` metres: tables near zero, networks after He."""
        spec = ops.HashGridSpec(
            levels=settings.levels, features=settings.features, log2_table=settings.log2_table,
            base_resolution=settings.base_resolution, finest_resolution=settings.finest_resolution,
        )  # fmt: skip

        def matrices(sizes: list[int]) -> list[torch.Tensor]:
            return [
                (torch.randn(wide, narrow, generator=generator) * (2.0 / narrow) ** 0.5).to(device)
                for narrow, wide in zip(sizes[:-1], sizes[1:], strict=True)
            ]

        published = settings.density == "published"
        hidden, geometry = settings.hidden, settings.geometry_features
        start = torch.zeros(tables, spec.parameters)
        start[0].uniform_(-1e-4, 1e-4, generator=generator)
        return Field(
            spec,
            start.to(device),
            matrices([settings.levels * settings.features, *[hidden] * settings.sigma_layers, 1 + geometry]),
            matrices([geometry + HARMONICS**2, hidden, 3]),
            PUBLISHED_SIDE / side_m if published else DENSITY_SCALE,
            0.0 if published else DENSITY_SHIFT,
        )

    def state(self) -> dict[str, torch.Tensor]:
        """Named tensors, as a checkpoint holds them."""
        named = {"tables": self.tables}
        named |= {f"sigma_network.{i}": w for i, w in enumerate(self.sigma_weights)}
        named |= {f"color_network.{i}": w for i, w in enumerate(self.color_weights)}
        return named

    @staticmethod
    def from_state(
        state: Mapping[str, torch.Tensor], spec: ops.HashGridSpec, density_scale: float = DENSITY_SCALE,
        density_shift: float = DENSITY_SHIFT,
    ) -> Field:  # fmt: skip
        """What `state` gave, under the density's law that it was fitted with."""

        def matrices(prefix: str) -> list[torch.Tensor]:
            count = sum(name.startswith(prefix) for name in state)
            return [state[f"{prefix}{i}"] for i in range(count)]

        networks = matrices("sigma_network."), matrices("color_network.")
        return Field(spec, state["tables"], *networks, density_scale, density_shift)
