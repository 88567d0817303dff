"""Distance of two pictures in the features of a face recognition network; a loss, no figure."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, prelu

from ..pretrained import arcface as weights


class ArcFaceFeatures:
    """Content and style in the network's second layer.

    Args:
        device: where it computes.
    Raises:
        ModelError: no weights were added.
    Source: Grassal et al. 2022, section 3.4, the perceptual term: features and their Gram matrices, L1; the network is
        that of Deng et al. 2019.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._weights = {name: tensor.to(device) for name, tensor in weights.load().items()}

    def __call__(self, image: Tensor, truth: Tensor) -> Tensor:
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
        a, b = self.features(image), self.features(truth)
        return (a - b).abs().mean((1, 2, 3)) + (_gram(a) - _gram(b)).abs().mean((1, 2))

    def features(self, image: Tensor) -> Tensor:
        """(B, 128, H / 4, W / 4) of pictures (B, 3, H, W) in [0, 1]."""
        x = self._bend(self._norm(self._convolved(image * 2 - 1, "conv1", 1, 1), "bn1"), "prelu")
        for layer in range(1, len(weights.WIDTHS) + 1):
            for block in range(weights.BLOCKS):
                x = self._block(x, f"layer{layer}.{block}", 2 if block == 0 else 1)
        return x

    def _block(self, x: Tensor, name: str, stride: int) -> Tensor:
        inner = self._convolved(self._norm(x, f"{name}.bn1"), f"{name}.conv1", 1, 1)
        inner = self._bend(self._norm(inner, f"{name}.bn2"), f"{name}.prelu")
        inner = self._norm(self._convolved(inner, f"{name}.conv2", stride, 1), f"{name}.bn3")
        if stride > 1:
            x = self._norm(self._convolved(x, f"{name}.downsample.0", stride, 0), f"{name}.downsample.1")
        return inner + x

    def _convolved(self, x: Tensor, name: str, stride: int, padding: int) -> Tensor:
        return conv2d(x, self._weights[f"{name}.weight"], stride=stride, padding=padding)

    def _bend(self, x: Tensor, name: str) -> Tensor:
        return prelu(x, self._weights[f"{name}.weight"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        mean, spread, weight, bias = (
            self._weights[f"{name}.{field}"] for field in ("running_mean", "running_var", "weight", "bias")
        )
        return batch_norm(x, mean, spread, weight, bias)


def _gram(features: Tensor) -> Tensor:
    """(B, C, C) mean products of channels."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]
