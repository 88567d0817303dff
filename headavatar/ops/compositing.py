"""Volume rendering: samples along rays into a color per ray."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.native import rays as native
from headavatar.ops.reference import compositing as reference

STOP = 1e-4
"""A ray ends where less than this is left of its light; at 1e-3 gradients drift visibly."""


@dataclass(frozen=True)
class Composite:
    """What rays see; each carries gradients.

    Attributes:
        rgb: (R, 3) color times alpha: add (1 - alpha) * background.
        alpha: (R,) opacity in [0, 1].
        depth: (R,) distance times alpha: divide by alpha where it is not 0.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor


def composite(sigma: Tensor, rgb: Tensor, deltas: Tensor, distances: Tensor, ray_offsets: Tensor) -> Composite:
    """Composite samples front to back; samples behind a transmittance of 1e-4 count for nothing.

    Args:
        sigma: (N,) densities, not negative.
        rgb: (N, 3) colors.
        deltas: (N,) lengths that the samples stand for, in the unit that sigma is the inverse of.
        distances: (N,) along the rays.
        ray_offsets: (R + 1,) integer: samples ray_offsets[r] to ray_offsets[r + 1] belong to ray r, front to back.
    Returns:
        Composite of the R rays; carries gradients to `sigma` and `rgb`.
    Raises:
        ValueError: shapes do not fit.
    Source:
        N. Max 1995, "Optical Models for Direct Volume Rendering".
    """
    count = len(sigma)
    if rgb.shape != (count, 3) or deltas.shape != (count,) or distances.shape != (count,):
        raise ValueError(f"{count} densities, but colors {tuple(rgb.shape)} and deltas {tuple(deltas.shape)}")
    if backend.is_triton(sigma, rgb, deltas, distances):
        from headavatar.ops.cuda import rays as cuda

        return Composite(*cuda.composite(sigma, rgb, deltas, distances, ray_offsets, STOP))
    if backend.is_native(sigma, rgb, deltas, distances, ray_offsets):
        return Composite(*native.composite(sigma, rgb, deltas, distances, ray_offsets, STOP))
    return Composite(*reference.composite(sigma, rgb, deltas, distances, ray_offsets, STOP))
