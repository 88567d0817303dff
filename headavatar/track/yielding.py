"""Colors that yield to a step of poses and person, instead of holding it back."""

from __future__ import annotations

import torch
from torch import Tensor


class Sway:
    """How N surfels' colors, gathered from n frames, move along with the frames' poses and the person.

    Held, colors keep every step short: they were gathered where the head was believed to be, and agree with that. Free,
    each is the mean of what the frames show, and is eliminated from the normal equations. That is done for its gray
    value alone, which nearly all of a slope is.

    Source: variable projection (Golub and Pereyra 1973), Gauss-Newton form.

    Args:
        surfels: N.
        frames: n.
        size: D, unknowns of a frame; the person's follow those of all frames.
    """

    def __init__(self, surfels: int, frames: int, size: int) -> None:
        self.frames, self.size = frames, size
        self.weight = torch.zeros(surfels)
        self.slope: Tensor | None = None

    def add(self, rows: slice, slope: Tensor, weight: Tensor) -> None:
        """Add some frames' (B, N, D + S) weighted slopes and their (B, N) weights."""
        own = self.frames * self.size
        if self.slope is None:
            self.slope = torch.zeros(len(self.weight), own + slope.shape[-1] - self.size)
        part = self.slope[:, :own].unflatten(1, (self.frames, self.size))
        part[:, rows] = slope[..., : self.size].transpose(0, 1)
        self.slope[:, own:] += slope[..., self.size :].sum(0)
        self.weight += weight.sum(0)

    def rows(self) -> Tensor:
        """(N, n * D + S), as `Normal.yielded`."""
        assert self.slope is not None
        return self.slope / self.weight.clamp(min=1e-6).sqrt()[:, None]
