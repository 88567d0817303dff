"""From how far aside training saw each part of the head: what it saw at a grazing angle only it does not know."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .drawing import Seen

BINS = 10
OFTEN = 0.03
"""Share of the frames that see a vertex which must see it that much face on, or more, for it to count."""
SELDOM = 0.005
"""A vertex that fewer of all frames see is not known at all: what it learned from them is a beginning."""


class Views:
    """Counts, for every vertex, the training frames that saw it by the angle.

    Args:
        count: V, vertices.
        device: of the counts.
    """

    def __init__(self, count: int, device: str) -> None:
        self._counts = torch.zeros(count, BINS, device=device)
        self._frames = torch.zeros((), device=device)

    @torch.no_grad()
    def add(self, seen: Seen) -> None:
        """Take the B frames of a step in."""
        for index, facing in zip(seen.fragments.face_index, seen.facing, strict=True):
            shown = torch.zeros(len(seen.faces) + 1, dtype=torch.bool, device=facing.device)
            shown[index.long()] = True  # -1, where nothing is seen, is the last
            visible = torch.zeros(len(facing), dtype=torch.bool, device=facing.device)
            visible[seen.faces[shown[:-1]].reshape(-1)] = True
            vertices = visible.nonzero()[:, 0]
            self._counts[vertices, (facing[vertices] * BINS).long().clamp(0, BINS - 1)] += 1
        self._frames += len(seen.facing)

    def facing(self) -> Tensor:
        """(V,) how face on each vertex was seen `OFTEN`: the cosine at it between normal and view, 0 if it was not."""
        least = (OFTEN * self._counts.sum(1, keepdim=True)).maximum(SELDOM * self._frames).clamp_min(1)
        above = self._counts.flip(1).cumsum(1).flip(1) >= least
        return (above.sum(1) - 0.5).clamp_min(0) / BINS

    def state(self) -> dict[str, Tensor]:
        return {"views.counts": self._counts, "views.frames": self._frames}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self._counts.copy_(state["views.counts"])
        self._frames.copy_(state["views.frames"])
