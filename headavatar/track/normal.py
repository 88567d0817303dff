"""Normal equations of many frames and of one person whom they share, and their solution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Normal:
    """Normal equations of some frames; the person's part is there where it was asked for."""

    blocks: Tensor
    gradient: Tensor
    shared_block: Tensor | None = None
    shared_gradient: Tensor | None = None
    mixed: Tensor | None = None

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

    Source: the Schur complement of bundle adjustment (Triggs et al. 2000, section 6.1).
    """
    assert system.shared_block is not None and system.shared_gradient is not None and system.mixed is not None
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
