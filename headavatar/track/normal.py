"""Normal equations of many frames and of one person whom they share, and their solution."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

_TURNS = 60
_NEAR = 1e-5


@dataclass
class Normal:
    """Normal equations of n frames with D unknowns each; the person's part is there where it was asked for.

    Attributes:
        blocks, gradient: (n, D, D) and (n, D).
        shared_block, shared_gradient: (S, S) and (S,), of the person.
        mixed: (n, D, S).
        yielded: (N, n * D + S) rows whose outer products are to be taken off: what N unknowns that were eliminated
            before, and that all frames share, give way to.
    """

    blocks: Tensor
    gradient: Tensor
    shared_block: Tensor | None = None
    shared_gradient: Tensor | None = None
    mixed: Tensor | None = None
    yielded: Tensor | None = None

    @staticmethod
    def joined(parts: list[Normal]) -> Normal:
        """Frames after frames; the person's parts add up."""
        blocks, gradient = torch.cat([p.blocks for p in parts]), torch.cat([p.gradient for p in parts])
        if parts[0].mixed is None:
            return Normal(blocks, gradient)
        return Normal(
            blocks, gradient,
            torch.stack([p.shared_block for p in parts if p.shared_block is not None]).sum(0),
            torch.stack([p.shared_gradient for p in parts if p.shared_gradient is not None]).sum(0),
            torch.cat([p.mixed for p in parts if p.mixed is not None]),
        )  # fmt: skip


def eliminate(system: Normal, prior: Tensor, pull: Tensor, given: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Solve for the person's step and the frames' steps at once, the held unknowns taking the given steps.

    Args:
        system: with the person's part.
        prior, pull: (S,) further diagonal and gradient of the person's part.
        given: (n, D) steps of the held unknowns.
        held: (n, D) bool.
    Returns:
        the person's step (S,) and the frames' steps (n, D).

    Source: the Schur complement of bundle adjustment (Triggs et al. 2000, section 6.1).
    """
    assert system.shared_block is not None and system.shared_gradient is not None and system.mixed is not None
    if system.yielded is not None:
        return _eliminate_yielding(system, system.yielded, prior, pull, given, held)
    free = (~held).to(given.dtype)
    blocks = system.blocks * (free[:, :, None] * free[:, None, :])
    blocks.diagonal(dim1=1, dim2=2).add_(1 - free)
    right = (system.gradient + (system.blocks @ given[..., None])[..., 0]) * free
    mixed = system.mixed * free[..., None]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(blocks))
    solved = inverse @ torch.cat([mixed, right[..., None]], -1)
    reduced = system.shared_block + torch.diag(prior) - (mixed.transpose(1, 2) @ solved[..., :-1]).sum(0)
    pushed = (system.mixed.transpose(1, 2) @ given[..., None]).sum(0)[:, 0]
    target = system.shared_gradient + pull + pushed - (mixed.transpose(1, 2) @ solved[..., -1:]).sum(0)[:, 0]
    shared = -torch.linalg.solve(reduced, target)
    return shared, given - solved[..., -1] - (solved[..., :-1] @ shared[:, None])[..., 0]


def _eliminate_yielding(
    system: Normal, rows: Tensor, prior: Tensor, pull: Tensor, given: Tensor, held: Tensor
) -> tuple[Tensor, Tensor]:
    """The same where `rows` (N, n * D + S) couple all frames: conjugate gradients, led by the solution without them.

    A matrix of all unknowns would grow with the square of the frames' number.
    """
    assert system.shared_block is not None and system.shared_gradient is not None and system.mixed is not None
    shared_block, mixed, own = system.shared_block + torch.diag(prior), system.mixed, given.numel()
    alone = replace(system, yielded=None)
    free = torch.cat([~held.flatten(), torch.ones(len(prior), dtype=torch.bool)])

    def times(step: Tensor) -> Tensor:
        frames, person = step[:own].reshape(given.shape), step[own:]
        by_frames = (system.blocks @ frames[..., None])[..., 0] + mixed @ person
        by_person = (mixed.transpose(1, 2) @ frames[..., None]).sum(0)[:, 0] + shared_block @ person
        return torch.cat([by_frames.flatten(), by_person]) - (rows.T @ (rows @ step.to(rows.dtype))).to(step.dtype)

    def led(residual: Tensor) -> Tensor:
        right = replace(alone, gradient=-residual[:own].reshape(given.shape), shared_gradient=-residual[own:])
        person, frames = eliminate(right, prior, torch.zeros_like(pull), torch.zeros_like(given), held)
        return torch.cat([frames.flatten(), person])

    step = torch.cat([torch.where(held, given, 0.0).flatten(), torch.zeros_like(pull)])
    right = torch.cat([system.gradient.flatten(), system.shared_gradient + pull])
    residual = -(right + times(step)) * free
    ahead = led(residual)
    way, fall = ahead, residual @ ahead
    least = _NEAR**2 * fall
    for _ in range(_TURNS):
        if fall <= least:
            break
        image = times(way) * free
        length = fall / (way @ image)
        step = step + length * way
        residual = residual - length * image
        ahead = led(residual)
        before, fall = fall, residual @ ahead
        way = ahead + fall / before * way
    return step[own:], step[:own].reshape(given.shape)
