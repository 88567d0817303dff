"""From how far aside training saw each part of the head, and whether it saw that part alone.

What it saw at a grazing angle only it does not know. Where hair lets the background through, a texture holds its color.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .drawing import Seen

BINS = 10
OFTEN = 0.03
"""Share of the frames that see a vertex which must see it that much face on, or more, for it to count."""
OPAQUE = 0.97
"""A pixel whose matte is this or more shows the head alone."""
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
        self._opaque = torch.zeros(count, device=device)
        self._frames = torch.zeros((), device=device)

    @torch.no_grad()
    def add(self, seen: Seen, matte: Tensor, counted: Tensor) -> None:
        """Take the B frames of a step in, with their (B, H, W) mattes and what counts of them; what clothes hide does
        not."""
        for index, facing, opacity, counts in zip(seen.fragments.face_index, seen.facing, matte, counted, strict=True):
            visible = _corners(seen, index[counts > 0])
            vertices = visible.nonzero()[:, 0]
            self._counts[vertices, (facing[vertices] * BINS).long().clamp(0, BINS - 1)] += 1
            self._opaque += visible & ~_corners(seen, index[(counts > 0) & (opacity < OPAQUE)])
        self._frames += len(seen.facing)

    def alone(self) -> Tensor:
        """(V,) share of the frames which saw a vertex in which no pixel on its faces let the background through."""
        return self._opaque / self._counts.sum(1).clamp_min(1)

    def facing(self) -> Tensor:
        """(V,) how face on each vertex was seen `OFTEN`: the cosine at it between normal and view, 0 if it was not."""
        least = (OFTEN * self._counts.sum(1, keepdim=True)).maximum(SELDOM * self._frames).clamp_min(1)
        above = self._counts.flip(1).cumsum(1).flip(1) >= least
        return (above.sum(1) - 0.5).clamp_min(0) / BINS

    def state(self) -> dict[str, Tensor]:
        return {"views.counts": self._counts, "views.opaque": self._opaque, "views.frames": self._frames}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self._counts.copy_(state["views.counts"])
        self._opaque.copy_(state["views.opaque"])
        self._frames.copy_(state["views.frames"])


def _corners(seen: Seen, faces: Tensor) -> Tensor:
    """(V,) bool: the vertices of some faces, of which any may be given many times and -1 is none."""
    shown = torch.zeros(len(seen.faces) + 1, dtype=torch.bool, device=faces.device)
    shown[faces.long()] = True  # -1 is the last
    found = torch.zeros(seen.facing.shape[1], dtype=torch.bool, device=faces.device)
    found[seen.faces[shown[:-1]].reshape(-1)] = True
    return found
