"""What makes a fit repeatable: random choices by the seed and the step alone, and sums in one order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def in_fixed_order() -> Iterator[None]:
    """Sums of gradients at equal places run in one order, else threads make a resumed fit end otherwise."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
