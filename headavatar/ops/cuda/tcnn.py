"""Networks on tinycudann's FullyFusedMLP, half precision inside.

Its grid is not used: a level there has ceil(scale) + 1 nodes a side, ours and the published checkpoints' have
ceil(scale) + 2, so dense levels are laid out differently (and, where only one of the two fits the table, hashed in one
and dense in the other); scales and hash agree. What it does not take, Triton does.

Its weights are one flat vector: matrices (outputs, inputs) row by row, the inputs of the first and the outputs of the
last padded to a multiple of 16. Padded inputs are ones, so their weights must be, and stay, zero.
Source: tiny-cuda-nn, fully_fused_mlp.cu, identity.h and grid.h; T. Müller et al. 2021, "Real-time Neural Radiance
Caching for Path Tracing".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from headavatar.errors import EnvironmentFault

WIDTHS = (16, 32, 64, 128)
"""Widths of hidden layers that it is compiled for."""
ALIGNMENT = 16


def takes(weights: Sequence[Tensor]) -> bool:
    """Whether it has these layers: one hidden layer or more, all of one width that it is compiled for."""
    hidden = {len(w) for w in weights[:-1]}
    return len(hidden) == 1 and hidden.pop() in WIDTHS


def network(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """`ops.fused_mlp` of layers that `takes` allows; float32 in and out."""
    vector = flat(weights)
    module = _module(weights[0].shape[1], len(weights[-1]), len(weights[0]), len(weights) - 1)
    if module.params.numel() != len(vector):
        raise EnvironmentFault(
            "this version of tinycudann lays its networks out differently",
            why=f"it has {module.params.numel()} weights where {len(vector)} were expected",
            fix="set HEADAVATAR_OPS=triton",
        )
    result: Tensor = torch.func.functional_call(module, {"params": vector}, (x,))
    return result.float()


def flat(weights: Sequence[Tensor]) -> Tensor:
    """Our matrices as its vector; carries gradients to them."""
    first = pad(weights[0], (0, -weights[0].shape[1] % ALIGNMENT))
    last = pad(weights[-1], (0, 0, 0, -len(weights[-1]) % ALIGNMENT))
    return torch.cat([w.reshape(-1) for w in (first, *weights[1:-1], last)])


@lru_cache(maxsize=32)
def _module(inputs: int, outputs: int, hidden: int, layers: int) -> Any:
    """A network of these sizes; the parameters that it was made with are never used."""
    import tinycudann

    settings = {
        "otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None", "n_neurons": hidden,
        "n_hidden_layers": layers,
    }  # fmt: skip
    module = tinycudann.Network(n_input_dims=inputs, n_output_dims=outputs, network_config=settings)
    return module.requires_grad_(False)
