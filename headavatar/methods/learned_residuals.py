"""What the training frames' tracked poses are off by, learned beside an avatar.

Tracking errors differ from frame to frame; an avatar that takes every pose as it is paints their mean, blurred. A fit
meets a frame a few times only, too few for Adam's moments of every single frame. So all frames share one scale of
gradients, and a frame whose gradients are small hardly moves. What all frames are off by together is the avatar's own
shape, so residuals have zero mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .residuals import POSE, Residual

TURN_RAD, SHIFT_M = 1e-3, 2e-4
"""A step at rate 1 for gradients of the usual size, pose."""
EXPRESSION = 5e-3
"""The same for a coefficient."""
MEMORY = 0.98
"""How much of the gradients' usual size is kept from step to step."""
PULL = 0.05
"""What a step at rate 1 takes off the residuals of its frames, as a share."""


class LearnedResiduals:
    """Residuals of T training frames, zero at first.

    Args:
        frames: T.
        expressions: E, or 0 where only poses are learned.
    """

    def __init__(self, frames: int, expressions: int = 0) -> None:
        self.table = torch.zeros(frames, POSE + expressions)
        self.usual = torch.zeros(POSE + expressions)
        self.count = 0
        self.units = torch.tensor([TURN_RAD] * 3 + [SHIFT_M] * 3 + [EXPRESSION] * expressions)

    def of(self, frames: list[int], learns: bool) -> Residual:
        """The residuals of some frames, as leaves; with gradients where they learn."""
        rows = self.table[frames]
        pose = rows[:, :POSE].clone().requires_grad_(learns)
        if rows.shape[1] == POSE:
            return Residual(pose)
        return Residual(pose, rows[:, POSE:].clone().requires_grad_(learns))

    @torch.no_grad()
    def step(self, frames: list[int], residual: Residual, rate: float) -> None:
        """Move the residuals of a step's frames against their gradients.

        Args:
            frames: of the step.
            residual: what `of` gave for them, with gradients.
            rate: of the step, relative to `TURN_RAD`, `SHIFT_M` and `EXPRESSION`.
        """
        found = [part.grad for part in residual.parameters() if part.grad is not None]
        if len(found) < len(residual.parameters()):
            return
        gradient = torch.cat(found, 1).cpu()
        self.count += 1
        self.usual.mul_(MEMORY).add_(gradient.square().mean(0), alpha=1 - MEMORY)
        scale = (self.usual / (1 - MEMORY**self.count)).sqrt_().clamp_min_(1e-12)
        # A single frame's outburst moves it by no more than three usual steps.
        moved = (gradient / scale).clamp_(-3, 3) * self.units
        for row, frame in enumerate(frames):
            self.table[frame] = self.table[frame] * (1 - rate * PULL) - rate * moved[row]
        self.table[:, :POSE] -= self.table[:, :POSE].mean(0)

    def figures(self) -> dict[str, float]:
        """Mean sizes over all frames: "moved_deg" and "moved_mm"."""
        degrees, millimeters = Residual(self.table[:, :POSE]).sizes()
        return {"moved_deg": float(degrees.mean()), "moved_mm": float(millimeters.mean())}

    def state(self) -> dict[str, Tensor]:
        """What changes from step to step."""
        return {"table": self.table, "usual": self.usual, "count": torch.tensor(self.count)}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave."""
        self.table.copy_(state["table"])
        self.usual.copy_(state["usual"])
        self.count = int(state["count"])
