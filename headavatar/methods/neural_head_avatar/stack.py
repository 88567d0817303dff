"""The head's color as a stack of maps: a base, one for every expression and axis of the pose, and three for light.

It is linear in everything, so a plain shader draws it, and its tables learn as those of a radiance field do.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ... import ops
from .texture import Places

LIGHT_SIZE = 64


class Stack:
    """Colors as sums of maps.

    Args:
        tables: (K, S * S * 3) the base and what each coefficient adds, row 0 of a map at v = 1.
        light: (L, L, 9) what each component of the normal in camera space adds to red, green and blue.
        size: S.
    """

    def __init__(self, tables: Tensor, light: Tensor, size: int) -> None:
        self.tables, self.light, self.size = tables, light, size

    @staticmethod
    def fresh(count: int, size: int, device: str = "cpu") -> Stack:
        """A gray head of `count` maps."""
        tables = torch.zeros(count, size * size * 3, device=device)
        tables[0] = 0.5
        return Stack(tables, torch.zeros(LIGHT_SIZE, LIGHT_SIZE, 9, device=device), size)

    def prepare(self, told: Tensor) -> Tensor:
        """The maps of B frames in one each, (B, S * S * 3), of their (B, K) coefficients."""
        return ops.blend_tables(told, self.tables)

    def colors(self, places: list[Places], prepared: Tensor) -> list[Tensor]:
        """(N, 3) RGB of the places of each of B frames, not clamped to [0, 1]."""
        result = []
        for place, blended in zip(places, prepared, strict=True):
            base = ops.sample_maps(blended.reshape(self.size, self.size, 3), place.uv)
            light = ops.sample_maps(self.light, place.uv.detach()).reshape(-1, 3, 3)
            result.append(base + torch.einsum("nk,nkc->nc", place.normals, light))
        return result

    def state(self) -> dict[str, Tensor]:
        return {"texture.tables": self.tables, "texture.light": self.light}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        with torch.no_grad():
            for name, tensor in self.state().items():
                tensor.copy_(state[name])
