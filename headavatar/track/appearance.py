"""What a person's surface looks like: a color per surfel, and a light that stays while the head turns in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

_GAIN_PRIOR = 0.02
_SWEEPS = 3
_TOE = 0.05
"""Added to colors before their logarithm is taken, so that noise in the dark does not count."""


_Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Glimpse:
    """What B frames show of N surfels.

    Attributes:
        colors: (B, N, 3) in [0, 1].
        weight: (B, N) trust, 0 where a surfel is not seen.
        harmonics: (B, N, 9) of the directions in world space that the surfels face.
    """

    colors: Tensor
    weight: Tensor
    harmonics: Tensor


@dataclass(frozen=True)
class Colors:
    """What the surfels look like.

    Attributes:
        mean: (N, 3) logarithms of the colors, a toe added, under light that is the same everywhere.
        confidence: (N,) in [0, 1], how much was seen of each.
        light: (9, 3) added to the logarithm by the direction that a surfel faces in world space, in spherical
            harmonics: the lamps stay where they are while the head turns.
    """

    mean: Tensor
    confidence: Tensor
    light: Tensor

    def expected(self, harmonics: Tensor) -> Tensor:
        """(B, N, 3) colors in [0, 1] that frames should show, of surfels that face as the (B, N, 9) harmonics say."""
        return (self.mean + harmonics @ self.light).exp() - _TOE

    def residual(self, glimpse: Glimpse) -> Tensor:
        """(B, N, 3) colors seen less those expected, each frame's exposure evened out."""
        expected = self.expected(glimpse.harmonics)
        gain, bias = exposure(expected, glimpse.colors, glimpse.weight * self.confidence)
        return glimpse.colors - (expected * gain[:, None] + bias[:, None])


def gather(
    look: Callable[[Callable[[Glimpse], _Sums]], Iterable[_Sums]], count: int, frames: int, known: Colors | None = None
) -> Colors:
    """The colors and the light that frames agree on, robustly, each frame's exposure evened out.

    Args:
        look: gives what its argument makes of what the frames show, some at a time, from the start whenever it is
            called; in other threads, if it likes.
        count: N.
        frames: how many frames there are in all.
        known: colors that are nearly right, which spare the sweeps that find them from nothing.
    """
    colors = known
    for _ in range(_SWEEPS if known is None else 1):
        total, heap = torch.zeros(count), torch.zeros(count, 3)
        basis_heap, basis_square = torch.zeros(count, 8), torch.zeros(8, 8)
        mixed = torch.zeros(8, 3)
        sums = (total, heap, basis_heap, basis_square, mixed)
        for some in look(partial(_summed, colors)):
            for whole, part in zip(sums, some, strict=True):
                whole += part
        weights = total.clamp(min=1e-6)[:, None]
        # every surfel's own color is eliminated: the light is what is left when the same skin turns in it
        matrix = basis_square - basis_heap.T @ (basis_heap / weights)
        right = mixed - basis_heap.T @ (heap / weights)
        prior = 1e-3 * basis_square.trace() / 8 * torch.eye(8)
        light = torch.cat([torch.zeros(1, 3), torch.linalg.solve(matrix + prior, right)])
        mean = (heap - basis_heap @ light[1:]) / weights
        colors = Colors(mean, (total / (0.02 * frames)).clamp(max=1), light)
    assert colors is not None
    return colors


def _summed(colors: Colors | None, glimpse: Glimpse) -> _Sums:
    """Weights (N,), weighted tones (N, 3) and harmonics (N, 8) of some frames, the latters' products (8, 8) and (8, 3).

    Where colors are known already, exposure is evened out and what is far from them counts less.
    """
    seen, weight = glimpse.colors, glimpse.weight
    if colors is not None:
        expected = colors.expected(glimpse.harmonics)
        gain, bias = exposure(expected, seen, weight)
        seen = (seen - bias[:, None]) / gain[:, None]
        weight = weight * cauchy(seen - expected, 0.06)
    tone = (seen.clamp(min=0) + _TOE).log()
    turned = glimpse.harmonics[..., 1:]
    weighted = weight[..., None] * turned
    by_turn = weighted.flatten(0, 1).T
    return (
        weight.sum(0), (weight[..., None] * tone).sum(0), weighted.sum(0), by_turn @ turned.flatten(0, 1),
        by_turn @ tone.flatten(0, 1),
    )  # fmt: skip


def cauchy(residual: Tensor, scale: float) -> Tensor:
    """Robust weight of (..., 3) color residuals."""
    return 1 / (1 + residual.square().sum(-1) / scale**2)


def harmonics(normals: Tensor) -> Tensor:
    """(..., 9) spherical harmonics up to the second order of unit vectors, without their constants."""
    x, y, z = normals.unbind(-1)
    return torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], -1)


def exposure(mean: Tensor, seen: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and bias (B, 3) that bring expected colors (B, N, 3) nearest to those seen (B, N, 3), held near 1 and 0."""
    weight = (weight / weight.sum(1, keepdim=True).clamp(min=1e-6))[..., None]
    x_mean, y_mean = (weight * mean).sum(1), (weight * seen).sum(1)
    x, y = mean - x_mean[:, None], seen - y_mean[:, None]
    variance = (weight * x * x).sum(1)
    gain = ((weight * x * y).sum(1) + _GAIN_PRIOR**2) / (variance + _GAIN_PRIOR**2)
    gain = gain.clamp(0.5, 2.0)
    return gain, y_mean - gain * x_mean
