"""The head's color as a stack of maps: a base, one for every expression and axis of the pose, and three for light.

It is linear in everything, so a plain shader draws it, and its tables learn as those of a radiance field do. A fourth
channel is opacity: hair is no hard surface, and thins out where it is seen from the side.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from ... import ops
from .texture import Places

LIGHT_SIZE = 64
CHANNELS = 4
BLANK = (0.5, 0.5, 0.5, 1.0)
"""What a texel of the base holds before it has learned anything."""


class Stack:
    """Colors as sums of maps.

    What an expression adds is smoother than skin and hair are, and is seen in fewer frames, so its maps are coarser.

    Args:
        tables: (K, s * s * 4) the base and what each coefficient adds to RGB and opacity, row 0 of a map at v = 1.
        detail: (S, S, 4) added to the base.
        light: (L, L, 12) what each component of the normal in camera space adds to them.
    """

    def __init__(self, tables: Tensor, detail: Tensor, light: Tensor) -> None:
        self.tables, self.detail, self.light = tables, detail, light
        self._edge = round((tables.shape[1] / CHANNELS) ** 0.5)

    @staticmethod
    def fresh(count: int, size: int, device: str = "cpu", *, coarse: int = 0) -> Stack:
        """A gray head of `count` maps with `coarse` texels along an edge, or `size` where that is 0."""
        edge = coarse or size
        tables = torch.zeros(count, edge * edge * CHANNELS, device=device)
        tables[0] = torch.tensor(BLANK, device=device).repeat(edge * edge)
        detail = torch.zeros(size, size, CHANNELS, device=device)
        return Stack(tables, detail, torch.zeros(LIGHT_SIZE, LIGHT_SIZE, 3 * CHANNELS, device=device))

    @property
    def size(self) -> int:
        """S, edge of what is drawn, texels."""
        return len(self.detail)

    def prepare(self, told: Tensor) -> Tensor:
        """The maps of B frames in one each, (B, s * s * 4), of their (B, K) coefficients."""
        return ops.blend_tables(told, self.tables)

    def colors(self, places: list[Places], prepared: Tensor) -> list[Tensor]:
        """(N, 4) RGB and opacity of the places of each of B frames, not clamped to [0, 1]."""
        result = []
        for place, blended in zip(places, self._fine(prepared) + self.detail, strict=True):
            base = ops.sample_maps(blended, place.uv)
            light = ops.sample_maps(self.light, place.uv.detach()).reshape(-1, 3, CHANNELS)
            result.append(base + torch.einsum("nk,nkc->nc", place.normals, light))
        return result

    def maps(self) -> tuple[Tensor, Tensor]:
        """The base (S, S, 4), and what each of the other coefficients adds to it, (K - 1, s, s, 4)."""
        coarse = self.tables[1:].reshape(-1, self._edge, self._edge, CHANNELS)
        return self._fine(self.tables[:1])[0] + self.detail, coarse

    def reached(self) -> Tensor:
        """(s, s) bool, the texels of the tables that any training picture has changed."""
        maps = self.tables.reshape(len(self.tables), self._edge, self._edge, CHANNELS)
        return (maps[0] != maps.new_tensor(BLANK)).any(-1) | (maps[1:] != 0).any(-1).any(0)

    def _fine(self, tables: Tensor) -> Tensor:
        """(B, S, S, 4) of coarse maps (B, s * s * 4)."""
        maps = tables.reshape(len(tables), self._edge, self._edge, CHANNELS)
        if self._edge == self.size:
            return maps
        finer = functional.interpolate(maps.permute(0, 3, 1, 2), size=(self.size, self.size), mode="bilinear")
        return finer.permute(0, 2, 3, 1).contiguous()

    def state(self) -> dict[str, Tensor]:
        return {"texture.tables": self.tables, "texture.detail": self.detail, "texture.light": self.light}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        with torch.no_grad():
            for name, tensor in self.state().items():
                tensor.copy_(state[name])
