"""Random choices of a fit: functions of the seed and the step alone, so that resuming repeats them."""

from __future__ import annotations

import torch


def generator_of(seed: int, index: int) -> torch.Generator:
    """Random numbers of one step; negative indices are free for what is drawn once."""
    return torch.Generator().manual_seed((seed * 1_000_003 + index + 1) % (1 << 63))


def frames_of(seed: int, index: int, count: int, total: int, first: int) -> list[int]:
    """The frames of a step: every epoch walks through all of them in an order of its own.

    Args:
        seed, index: of the fit and of the step.
        count: frames a step.
        total: frames to train on.
        first: index of the first epoch's order, negative; later epochs take those below it.
    """
    places = range(index * count, (index + 1) * count)
    orders = {e: torch.randperm(total, generator=generator_of(seed, first - e)) for e in {p // total for p in places}}
    return [int(orders[place // total][place % total]) for place in places]
