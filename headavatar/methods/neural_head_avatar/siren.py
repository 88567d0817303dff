"""Networks of sines whose layers are scaled and shifted by a condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

OMEGA = 30.0
"""Frequency of a first layer over coordinates in [-1, 1]."""


Film = list[tuple[Tensor, Tensor]]
"""A network's layers, weight (out, in) and bias (out,), with a condition's scale and shift folded in."""


class FilmSiren:
    """A multilayer perceptron with sines, x ↦ sin(γ (W x + b) + β), where γ and β come from a condition.

    Args:
        weights, biases: of each layer, (out, in) and (out,).
        mapping: weights and biases of the perceptron that gives γ and β of all layers from a condition.
    Source:
        Sitzmann et al., Implicit Neural Representations with Periodic Activation Functions, 2020, section 3.2;
        Chan et al., pi-GAN, 2021, section 3.1.
    """

    def __init__(self, weights: list[Tensor], biases: list[Tensor], mapping: list[tuple[Tensor, Tensor]]) -> None:
        self.weights, self.biases, self.mapping = weights, biases, mapping

    @staticmethod
    def fresh(
        inputs: int, width: int, layers: int, condition: int, *, mapping_width: int, omega: Tensor,
        generator: torch.Generator, device: str = "cpu",
    ) -> FilmSiren:  # fmt: skip
        """Random weights.

        Args:
            inputs: of the first layer.
            width, layers: of the network.
            condition: size of the condition.
            mapping_width: of the mapping's two hidden layers.
            omega: (inputs,) frequency of each input.
            generator: of the random numbers.
        """
        weights, biases = [], []
        for layer in range(layers):
            fan = inputs if layer == 0 else width
            bound = 1 / fan if layer == 0 else math.sqrt(6 / fan)
            weight = (torch.rand(width, fan, generator=generator) * 2 - 1) * bound
            weights.append(weight * omega if layer == 0 else weight)
            biases.append((torch.rand(width, generator=generator) * 2 - 1) / math.sqrt(fan))
        sizes = [condition, mapping_width, mapping_width, 2 * width * layers]
        mapping = []
        for fan, out in zip(sizes[:-1], sizes[1:], strict=True):
            bound = math.sqrt(6 / fan) if out != sizes[-1] else 1e-2 / fan
            mapping.append(((torch.rand(out, fan, generator=generator) * 2 - 1) * bound, torch.zeros(out)))
        return FilmSiren(
            [w.to(device) for w in weights], [b.to(device) for b in biases],
            [(w.to(device), b.to(device)) for w, b in mapping],
        )  # fmt: skip

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.weights, *self.biases, *(tensor for pair in self.mapping for tensor in pair)]

    def films(self, condition: Tensor) -> Film:
        """Layers as one condition makes them, its scale and shift folded into weights and biases.

        Args:
            condition: (D,).
        Returns:
            of each layer (out, in) and (out,).
        """
        x = condition
        for i, (weight, bias) in enumerate(self.mapping):
            x = torch.nn.functional.linear(x, weight, bias)
            if i < len(self.mapping) - 1:
                x = torch.nn.functional.leaky_relu(x, 0.2)
        scale, shift = x.reshape(2, len(self.weights), -1)
        return [
            (weight * (1 + s)[:, None], bias * (1 + s) + b)
            for weight, bias, s, b in zip(self.weights, self.biases, scale, shift, strict=True)
        ]

    @staticmethod
    def run(films: Film, x: Tensor) -> Tensor:
        """(N, width) of (N, inputs), with the layers that `films` gave."""
        for weight, bias in films:
            x = torch.nn.functional.linear(x, weight, bias).sin()
        return x
