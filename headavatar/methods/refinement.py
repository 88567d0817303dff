"""A frame's pose and expression, moved until an avatar's picture matches the frame's; the avatar stays as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..scene import Array, Camera, HeadParams
from .adam import Adam
from .base import Refinable
from .chance import generator_of, in_fixed_order
from .residuals import Residual


@dataclass(frozen=True)
class Refinement:
    """How poses are refined.

    Attributes:
        steps: of Adam.
        pixels: looked at in each.
        turn_rad, shift_m, expression: first step sizes of rotation, translation and expression.
        final: last step sizes, as a share of the first.
        calm: weight of the squared residual expression, beside the mean squared difference of colors.
    """

    steps: int = 30
    pixels: int = 2048
    turn_rad: float = 3e-3
    shift_m: float = 6e-4
    expression: float = 0.03
    final: float = 0.1
    calm: float = 1e-4


def refine(
    avatar: Refinable, params: HeadParams, camera: Camera, truth: Array, counted: Array, *, expression: bool,
    seed: int, how: Refinement = Refinement(),
) -> Residual:  # fmt: skip
    """What one frame's tracked parameters are off by, as an avatar sees it.

    Args:
        avatar: is not changed.
        params: of one frame, T = 1.
        camera: of the frame.
        truth: (H, W, 3) the frame on white, in [0, 1].
        counted: (H, W) bool, pixels that are compared.
        expression: whether the expression may move too.
        seed: of the choice of pixels.
        how: step sizes and counts.
    Returns:
        the residual of the frame, zero where no pixel counts.
    """
    low, high = (np.asarray(side, np.float32) for side in avatar.expression_range)
    tracked = torch.from_numpy(np.asarray(getattr(params, avatar.answers_to), np.float32))
    found = Residual.zero(1, tracked.shape[1] if expression else 0)
    places = torch.from_numpy(np.flatnonzero(counted))
    if len(places) == 0:
        return found
    wanted = torch.from_numpy(np.asarray(truth, np.float32).reshape(-1, 3))
    # In units of a first step, so that one step size serves all.
    units = torch.tensor([how.turn_rad] * 3 + [how.shift_m] * 3)
    free = Residual.zero(1, tracked.shape[1] if expression else 0)
    optimizer = Adam(free.parameters(), betas=(0.8, 0.95))
    # A tracked value beyond what training showed may stay, but none is driven there.
    least, most = (torch.minimum(torch.from_numpy(low), tracked) - tracked,
                   torch.maximum(torch.from_numpy(high), tracked) - tracked)  # fmt: skip

    def scaled() -> Residual:
        moved = None if free.expression is None else free.expression * how.expression
        return Residual(free.pose * units, moved)

    for step in range(how.steps):
        chosen = places[torch.randperm(len(places), generator=generator_of(seed, step))[: how.pixels]]
        now = scaled()
        seen = avatar.colors_at(params, camera, chosen, now)
        loss: Tensor = (seen - wanted[chosen].to(seen.device)).square().mean()
        if now.expression is not None:
            loss = loss + how.calm * now.expression.square().sum().to(seen.device)
        with in_fixed_order():
            loss.backward()
        optimizer.step(how.final ** (step / max(how.steps - 1, 1)))
        if free.expression is not None:
            with torch.no_grad():
                free.expression.copy_((free.expression * how.expression).clamp(least, most) / how.expression)
    with torch.no_grad():
        last = scaled()
    return Residual(last.pose.detach(), None if last.expression is None else last.expression.detach())
