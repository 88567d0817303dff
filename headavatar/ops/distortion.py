"""How far the light of a ray is spread along it: what keeps a radiance field from being fog."""

from __future__ import annotations

from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.native import distortion as native
from headavatar.ops.reference import distortion as reference


def distortion(optical: Tensor, distances: Tensor, deltas: Tensor, ray_offsets: Tensor) -> Tensor:
    """The mean distance between two places that a ray's light comes from, times what the ray saw, squared.

    Args:
        optical: (N,) optical depths of samples, density times length.
        distances: (N,) along the rays, rising within each.
        deltas: (N,) lengths that the samples stand for, in the unit of the distances.
        ray_offsets: (R + 1,) integer: samples ray_offsets[r] to ray_offsets[r + 1] belong to ray r.
    Returns:
        (R,) in the unit of the distances; carries gradients to `optical`.
    Raises:
        ValueError: shapes do not fit.
    Source:
        Barron et al. 2022, "Mip-NeRF 360: Unbounded Anti-Aliased Neural Radiance Fields", equation 15, in the order of
        N that sums from both ends allow.
    """
    if distances.shape != optical.shape or deltas.shape != optical.shape:
        raise ValueError(f"{len(optical)} samples, but {len(distances)} distances and {len(deltas)} lengths")
    if backend.is_native(optical, distances, deltas, ray_offsets):
        return native.distortion(optical, distances, deltas, ray_offsets)
    return reference.distortion(optical, distances, deltas, ray_offsets)
