"""Learned perceptual image patch similarity (LPIPS, version 0.1), as a figure and as a loss.

The networks' weights come from the catalog of `pretrained`; the network itself is written here in plain torch.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from ..pretrained import lpips as weights
from ..scene import Array

Network = Literal["alex", "vgg"]

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)

# A convolution is (stride, padding), "pool" halves, and "tap" hands the features so far to the comparison.
_Layer = tuple[int, int] | Literal["pool", "tap"]
_ALEX: tuple[_Layer, ...] = (
    (4, 2), "tap", "pool", (1, 2), "tap", "pool", (1, 1), "tap", (1, 1), "tap", (1, 1), "tap",
)  # fmt: skip
_VGG: tuple[_Layer, ...] = (
    (1, 1), (1, 1), "tap", "pool", (1, 1), (1, 1), "tap", "pool", (1, 1), (1, 1), (1, 1), "tap", "pool",
    (1, 1), (1, 1), (1, 1), "tap", "pool", (1, 1), (1, 1), (1, 1), "tap",
)  # fmt: skip
_LAYERS: dict[str, tuple[_Layer, ...]] = {"alex": _ALEX, "vgg": _VGG}
_POOL = {"alex": 3, "vgg": 2}
SMALLEST = 32
"""Pictures are grown to this edge: below it the deepest features have no extent."""


class Lpips:
    """Distance of two pictures in the features of a network.

    Args:
        network: "alex", the usual figure, or "vgg".
        device: where it computes.
    Raises:
        ModelError: the weights are not there and cannot be fetched.
    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018, eq. 1.
    """

    def __init__(self, network: Network = "alex", device: str = "cpu") -> None:
        parameters = weights.load(network)
        self.network = network
        self.convolutions = [(w.to(device), b.to(device)) for w, b in parameters.convolutions]
        self.heads = [w.to(device) for w in parameters.heads]
        self.shift = torch.tensor(_SHIFT, device=device)[:, None, None]
        self.scale = torch.tensor(_SCALE, device=device)[:, None, None]

    def __call__(self, image: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Distances, with gradients to both.

        Args:
            image, truth: (B, 3, H, W) RGB in [0, 1].
        Returns:
            (B,), 0 for equal pictures.
        Raises:
            ValueError: the shapes differ.
        """
        if image.shape != truth.shape:
            raise ValueError(f"images of shapes {tuple(image.shape)} and {tuple(truth.shape)} cannot be compared")
        total = torch.zeros(len(image), device=image.device)
        for a, b, head in zip(self._features(image), self._features(truth), self.heads, strict=True):
            total = total + functional.conv2d((_unit(a) - _unit(b)) ** 2, head).mean(dim=(1, 2, 3))
        return total

    def _features(self, image: torch.Tensor) -> list[torch.Tensor]:
        if min(image.shape[-2:]) < SMALLEST:
            size = [max(SMALLEST, edge) for edge in image.shape[-2:]]
            image = functional.interpolate(image, size=size, mode="bilinear", align_corners=False)
        x = (image * 2 - 1 - self.shift) / self.scale
        taps, convolutions = [], iter(self.convolutions)
        for layer in _LAYERS[self.network]:
            if layer == "tap":
                taps.append(x)
            elif layer == "pool":
                x = functional.max_pool2d(x, _POOL[self.network], 2)
            else:
                stride, padding = layer
                weight, bias = next(convolutions)
                x = functional.relu(functional.conv2d(x, weight, bias, stride=stride, padding=padding))
        return taps


def _unit(features: torch.Tensor) -> torch.Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


@torch.no_grad()
def lpips(network: Lpips, image: Array, truth: Array) -> float:
    """LPIPS of two (H, W, 3) pictures in [0, 1]."""
    a, b = (torch.from_numpy(picture.astype("float32")).permute(2, 0, 1)[None] for picture in (image, truth))
    return float(network(a, b)[0])
