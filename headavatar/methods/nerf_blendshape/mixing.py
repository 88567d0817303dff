"""Fewer tables than expressions: a learned matrix mixes what a frame's coefficients say into weights of shared tables.

With C a frame's K coefficients, M (K, R) the matrix and T (R, P) the tables, the frame's table is C M T. So each
coefficient keeps a table of its own, a row of M T, and an avatar's files have those: nothing that reads them knows of
the matrix. What draws finds it again, since tables that were mixed span as few dimensions as they were mixed from.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..adam import Adam

LR = 3e-3
"""Step size of the matrix, relative to the largest weight in training, which is 1."""
SPANNED = 1e-9
"""Squared lengths of tables along an axis that are smaller than this share of the largest are rounding."""
ROUNDING = 1e-5
"""The most that shared tables may be off by, as a share of the largest entry."""


class Mixing:
    """The matrix and its optimizer.

    Args:
        coefficients: (n, K) of all training frames, the first one 1.
        tables: R, the neutral one included.
    """

    def __init__(self, coefficients: torch.Tensor, tables: int) -> None:
        self.matrix = _principal(coefficients.double(), tables).to(coefficients)
        self._optimizer = Adam([self.matrix])

    def weights(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, R) weights of the shared tables, from (B, K)."""
        return coefficients @ self.matrix.detach()

    @torch.no_grad()
    def step(self, coefficients: torch.Tensor, gradient: torch.Tensor, tables: torch.Tensor, rate: float) -> None:
        """Learn from some frames.

        Args:
            coefficients: (B, K).
            gradient: (B, P) of the loss with respect to their blended tables.
            tables: (R, P) that these were blended from.
            rate: step size relative to that at the start.
        """
        slope = coefficients.T @ (gradient @ tables.T)
        slope[:, 0] = 0.0  # every frame has the neutral table, once
        self.matrix.grad = slope
        self._optimizer.step(LR * rate)

    def unmixed(self, tables: torch.Tensor) -> torch.Tensor:
        """(K, P) a table for each coefficient."""
        return self.matrix.detach() @ tables

    def state(self) -> dict[str, torch.Tensor]:
        """The matrix and what its optimizer keeps."""
        return {"matrix": self.matrix.detach(), **self._optimizer.state()}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """What `state` gave."""
        self.matrix.copy_(state["matrix"])
        self._optimizer.load_state(state)


@torch.no_grad()
def shared(tables: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Fewer tables that span the same: blending reads less memory.

    Args:
        tables: (K, P).
    Returns:
        matrix (K, R) and tables (R, P) whose product they are but for rounding, R at most half of K; None where there
        are none.
    """
    squares = torch.zeros(len(tables), len(tables), dtype=torch.float64, device=tables.device)
    for k in _parts(tables.shape[1]):
        part = tables[:, k].double()
        squares += part @ part.T
    sizes, axes = torch.linalg.eigh(squares.cpu())
    axes = axes[:, sizes > SPANNED * sizes.max()].to(tables)
    if 2 * axes.shape[1] > len(tables):
        return None
    fewer = axes.T @ tables
    off = max(float((axes @ fewer[:, k] - tables[:, k]).abs().max()) for k in _parts(tables.shape[1]))
    return (axes, fewer) if off <= ROUNDING * float(tables.abs().max()) else None


def _parts(length: int) -> list[slice]:
    return [slice(start, start + (1 << 16)) for start in range(0, length, 1 << 16)]


def _principal(coefficients: torch.Tensor, tables: int) -> torch.Tensor:
    """(K, R) the matrix to start with: principal components in their own sizes, the largest weight in training 1.

    Adam's steps on a table do not know how much its weight moves, so a small component stays a small part of a frame.
    Scaled to 1 each, they learn single frames by heart: holdout LPIPS 0.128 for 0.105 on a clip of 354 frames.
    """
    mean = coefficients.mean(0)
    axes = torch.linalg.svd(coefficients - mean, full_matrices=False).Vh[: tables - 1].T
    axes = axes / ((coefficients - mean) @ axes).abs().max().clamp_min(1e-6)
    matrix = coefficients.new_zeros(coefficients.shape[1], tables)
    matrix[0, 0] = 1.0
    matrix[:, 1 : 1 + axes.shape[1]] = axes
    matrix[0, 1 : 1 + axes.shape[1]] -= mean @ axes
    return matrix
