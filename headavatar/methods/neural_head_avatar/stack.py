"""The head's color as a stack of maps: a base, one for every expression and axis of the pose, and three for light.

It is linear in everything, so a plain shader draws it, and its tables learn as those of a radiance field do. A fourth
channel is opacity: hair is no hard surface, and thins out where it is seen from the side.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ... import ops
from .texture import Places

LIGHT_SIZE = 64
CHANNELS = 4


class Stack:
    """Colors as sums of maps.

    Args:
        tables: (K, S * S * 4) the base and what each coefficient adds to RGB and opacity, row 0 of a map at v = 1.
        light: (L, L, 12) what each component of the normal in camera space adds to them.
        size: S.
    """

    def __init__(self, tables: Tensor, light: Tensor, size: int) -> None:
        self.tables, self.light, self.size = tables, light, size

    @staticmethod
    def fresh(count: int, size: int, device: str = "cpu") -> Stack:
        """A gray head of `count` maps."""
        tables = torch.zeros(count, size * size * CHANNELS, device=device)
        tables[0] = torch.tensor([0.5, 0.5, 0.5, 1.0], device=device).repeat(size * size)
        return Stack(tables, torch.zeros(LIGHT_SIZE, LIGHT_SIZE, 3 * CHANNELS, device=device), size)

    def prepare(self, told: Tensor) -> Tensor:
        """The maps of B frames in one each, (B, S * S * 4), of their (B, K) coefficients."""
        return ops.blend_tables(told, self.tables)

    def colors(self, places: list[Places], prepared: Tensor) -> list[Tensor]:
        """(N, 4) RGB and opacity of the places of each of B frames, not clamped to [0, 1]."""
        result = []
        for place, blended in zip(places, prepared, strict=True):
            base = ops.sample_maps(blended.reshape(self.size, self.size, CHANNELS), place.uv)
            light = ops.sample_maps(self.light, place.uv.detach()).reshape(-1, 3, CHANNELS)
            result.append(base + torch.einsum("nk,nkc->nc", place.normals, light))
        return result

    def state(self) -> dict[str, Tensor]:
        return {"texture.tables": self.tables, "texture.light": self.light}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        with torch.no_grad():
            for name, tensor in self.state().items():
                tensor.copy_(state[name])
