"""A small network without biases, ReLU between its layers, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.native import field as native
from headavatar.ops.reference import field as reference


def fused_mlp(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Run a network.

    Args:
        x: (N, inputs).
        weights: one matrix (outputs, inputs) per layer, as `torch.nn.Linear` stores them.
    Returns:
        (N, outputs of the last layer), nothing applied to it; carries gradients to `x` and `weights`.
    Raises:
        ValueError: shapes do not fit.
    """
    check_layers(weights, x.shape[-1])
    if backend.is_triton(x, *weights):
        from headavatar.ops.cuda import network as cuda

        return cuda.fused_mlp(x, list(weights))
    if backend.is_native(x, *weights):
        return native.fused_mlp(x, list(weights))
    return reference.mlp(x, weights)


def check_layers(weights: Sequence[Tensor], inputs: int) -> None:
    """Raise ValueError unless the matrices chain up from `inputs`."""
    if not weights:
        raise ValueError("a network needs a layer")
    for weight in weights:
        if weight.ndim != 2 or weight.shape[1] != inputs:
            raise ValueError(f"a layer {tuple(weight.shape)} does not take {inputs} inputs")
        inputs = weight.shape[0]
