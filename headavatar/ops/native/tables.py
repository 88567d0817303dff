"""Bindings of the optimiser step in tables.cpp."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from headavatar.ops.native.library import handle
from headavatar.ops.native.structs import AdamArgs, address, addresses


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
    """One step on (K, P) tables in place; coefficients (J, K), J gradients of (P,)."""
    coefficients = coefficients.contiguous()
    pointers = addresses(gradients)
    args = AdamArgs(
        address(tables), address(first), address(second), address(coefficients),
        ctypes.cast(pointers, ctypes.c_void_p), address(l1), len(tables), tables.shape[1], len(gradients),
        lr / (1 - betas[0] ** steps), 1 / (1 - betas[1] ** steps) ** 0.5, betas[0], betas[1], eps,
        first.dtype == torch.bfloat16,
    )  # fmt: skip
    handle().ha_adam(ctypes.byref(args))
