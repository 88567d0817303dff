"""The rank-one Adam step in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def adam(
    tables: Tensor,
    first: Tensor,
    second: Tensor,
    coefficients: Tensor,
    gradients: list[Tensor],
    l1: Tensor,
    steps: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """One step on (K, P) tables, row by row; coefficients (J, K), J gradients of (P,)."""
    rows = torch.stack(gradients)
    rate = lr / (1 - betas[0] ** steps)
    correction = 1 / (1 - betas[1] ** steps) ** 0.5
    for k, table in enumerate(tables):
        gradient = coefficients[:, k] @ rows + l1[k] * table.sign()
        m = first[k].to(table).mul_(betas[0]).add_(gradient, alpha=1 - betas[0])
        v = second[k].to(table).mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
        first[k], second[k] = m, v
        table.sub_(rate * m / (v.sqrt() * correction + eps))
