"""Launches the networks' kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops import backend
from headavatar.ops.cuda import tcnn
from headavatar.ops.cuda.kernels import network as kernels
from headavatar.ops.reference.field import mlp

BLOCK = 64
WIDEST, WIDEST_HIDDEN = 128, 64
"""The widest input or output and the widest hidden layer that fit a program's memory on every card; wider networks, and
hidden layers of unequal widths, are left to torch."""
PROGRAMS = 128
"""Programs that share the gradient of the weights; their sums are added up in a fixed order."""
LINEAR, SIGMOID, DENSITY = 0, 1, 2


@dataclass(frozen=True)
class Shape:
    """Sizes of a network.

    Attributes:
        inputs: columns of x that it takes, those from `skip` on.
        extra: length of a ray's features, taken beside them.
        hidden: width of every hidden layer; 1 where there is none.
        outputs: of the last layer.
        layers: number of matrices.
        skip, stride: first column that is taken, and length of a row of x.
    """

    inputs: int
    extra: int
    hidden: int
    outputs: int
    layers: int
    skip: int
    stride: int

    @property
    def size(self) -> int:
        """Length of the flat weights."""
        first = (self.inputs + self.extra) * (self.outputs if self.layers == 1 else self.hidden)
        return first + (self.layers > 1) * self.hidden * (self.hidden * (self.layers - 2) + self.outputs)

    @property
    def constants(self) -> dict[str, Any]:
        """What all kernels are compiled for."""
        return {
            "SKIP": self.skip, "STRIDE": self.stride, "IN": self.inputs, "EXTRA": self.extra, "HIDDEN": self.hidden,
            "OUT": self.outputs, "LAYERS": self.layers, "PI": padded(self.inputs), "PH": padded(self.hidden),
            "PO": padded(self.outputs), "PRECISION": precision(), "BLOCK": BLOCK,
        }  # fmt: skip


def padded(width: int) -> int:
    """The power of two that a width is padded to; tl.dot takes 16 and more."""
    return max(16, triton.next_power_of_2(width))


def precision() -> str:
    """How tensor cores multiply: three TF32 products for the digits of float32, one where torch is told that it may.

    That is `torch.set_float32_matmul_precision`, "highest" unless set otherwise.
    """
    return "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def shape_of(weights: Sequence[Tensor], extra: int = 0, skip: int = 0) -> Shape | None:
    """The network's sizes, of whose inputs the last `extra` are a ray's; None where the kernels do not take it."""
    sizes = [weights[0].shape[1], *(len(w) for w in weights)]
    inputs, hidden = sizes[0] - extra, sizes[1:-1] or [1]
    if max(sizes) > WIDEST or max(hidden) > WIDEST_HIDDEN or inputs < 1 or len(set(hidden)) > 1:
        return None
    return Shape(inputs, extra, hidden[0], sizes[-1], len(weights), skip, skip + inputs)


def flat(weights: Sequence[Tensor]) -> Tensor:
    """The matrices one after the other; carries gradients to them."""
    return torch.cat([w.reshape(-1) for w in weights])


def forward(
    shape: Shape, x: Tensor, features: Tensor, ray_index: Tensor, weights: Tensor, starts: Tensor, head: int,
    shift: float, scale: float, keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Run a network over the rows of x before starts[-1].

    Returns:
        out (N, outputs) and, with the density's head, sigma (N,), both 0 in the other rows; hidden layers
        (layers - 1, N, hidden), which are empty unless they are kept.
    """
    n, rest = len(x), shape.layers - 1
    out, sigma = x.new_zeros(n, shape.outputs), x.new_zeros(n if head == DENSITY else 0)
    hidden = x.new_empty((rest, n, shape.hidden) if keep else (0,))
    if n:
        kernels.net_forward[(triton.cdiv(n, BLOCK),)](
            x, features, ray_index, weights, hidden, out, sigma, starts, len(starts) - 1, n, len(features), shift,
            scale, HEAD=head, KEEP=keep, PE=padded(shape.extra), **shape.constants,
        )  # fmt: skip
    return out, sigma, hidden


def backward(
    shape: Shape, x: Tensor, features: Tensor, ray_index: Tensor, weights: Tensor, starts: Tensor, head: int,
    shift: float, scale: float, out: Tensor, hidden: Tensor, grad: Tensor, grad_sigma: Tensor, grad_x: Tensor | None,
) -> Tensor:  # fmt: skip
    """The gradient of the flat weights; that of x is written to `grad_x`, where one is given."""
    n = len(x)
    if n == 0:
        return torch.zeros_like(weights)
    delta, grad_hidden = torch.empty_like(grad), torch.empty_like(hidden)
    kernels.net_backward[(triton.cdiv(n, BLOCK),)](
        grad, grad_sigma, out, weights, hidden, delta, grad_hidden, delta if grad_x is None else grad_x, starts,
        len(starts) - 1, n, shift, scale, HEAD=head, WITH_X=grad_x is not None, **shape.constants,
    )  # fmt: skip
    partial = weights.new_empty(min(PROGRAMS, triton.cdiv(n, BLOCK)), shape.size)
    kernels.net_weights[(len(partial),)](
        x, features, ray_index, hidden, delta, grad_hidden, partial, starts, len(starts) - 1, n, len(features),
        shape.size, PE=padded(shape.extra), **shape.constants,
    )  # fmt: skip
    return partial.sum(0)


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, shape: Shape, keep: bool) -> Tensor:
        # Two numbers made on the card: no row is left out.
        starts = torch.arange(0, 2 * max(len(x), 1), max(len(x), 1), device=x.device)
        ray_index = torch.empty(0, dtype=torch.int32, device=x.device)
        out, _, hidden = forward(shape, x, x, ray_index, weights, starts, LINEAR, 0.0, 1.0, keep)
        ctx.shape = shape
        ctx.save_for_backward(x, ray_index, weights, starts, out, hidden)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, ray_index, weights, starts, out, hidden = ctx.saved_tensors
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_weights = backward(
            ctx.shape, x, x, ray_index, weights, starts, LINEAR, 0.0, 1.0, out, hidden, grad.contiguous(), grad, grad_x
        )
        return grad_x, grad_weights, None, None


def fused_mlp(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """`ops.fused_mlp`; sizes that the kernels do not take run as torch's matrix products."""
    if backend.current(x.device) == "tinycudann" and tcnn.takes(weights):
        return tcnn.network(x, weights)
    shape = shape_of(weights)
    if shape is None:
        return mlp(x, weights)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *weights))
    y: Tensor = _Mlp.apply(x.contiguous(), flat(weights), shape, keep)
    return y
