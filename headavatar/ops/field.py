"""The radiance field: hash grid, density network and color network in one call."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.hashgrid import HashGridSpec, batch_of, frames_of, runs_native, starts_of
from headavatar.ops.mlp import check_layers
from headavatar.ops.native import field as native
from headavatar.ops.reference import field as reference


def nerf_field(
    x: Tensor,
    table: Tensor,
    ray_features: Tensor,
    ray_index: Tensor,
    sigma_weights: Sequence[Tensor],
    color_weights: Sequence[Tensor],
    spec: HashGridSpec,
    *,
    frame_offsets: Tensor | None = None,
    density_shift: float = -3.0,
    density_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Density and color of points.

    raw = sigma_net(hash_encode(x)); sigma = density_scale * softplus(raw[0] + density_shift);
    rgb = sigmoid(color_net(raw[1:], ray_features[ray_index])). Much faster than its parts, since what is between
    them never leaves the cache.

    Args:
        x: (N, 3) points in [0, 1].
        table: (P,), or (B, P) with `frame_offsets`.
        ray_features: (R, D) what the color network knows of each ray, such as `spherical_harmonics` of its direction;
            D may be 0.
        ray_index: (N,) integer, each point's ray.
        sigma_weights: matrices (outputs, inputs) from spec.width to 1 + G.
        color_weights: matrices from G + D to 3.
        spec: the grid's layout.
        frame_offsets: (B + 1,) int64: points frame_offsets[b] to frame_offsets[b + 1] use table b. On a card the
            last one may be less than N: what lies behind it has neither density nor gradients.
        density_shift: added before softplus; below 0 the volume starts transparent.
        density_scale: density per softplus, in units of 1 / (unit of the sample distances).
    Returns:
        sigma (N,) and rgb (N, 3) in [0, 1]; carry gradients to `x` (0 outside the box), `table`,
        `sigma_weights` and `color_weights`; none is computed that is not asked for.
    Raises:
        ValueError: shapes do not fit.
    Source:
        X. Gao et al. 2022, "Reconstructing Personalized Semantic Facial NeRF Models from Monocular Video", section 3.
    """
    batch = batch_of(x, table, spec, frame_offsets)
    check_layers(sigma_weights, spec.width)
    check_layers(color_weights, sigma_weights[-1].shape[0] - 1 + ray_features.shape[-1])
    if color_weights[-1].shape[0] != 3:
        raise ValueError("the color network must end in 3")
    if ray_index.shape != x.shape[:1]:
        raise ValueError(f"{tuple(ray_index.shape)} ray indices for {len(x)} points")
    tensors = (x, batch, ray_features, *sigma_weights, *color_weights)
    if backend.is_triton(*tensors):
        from headavatar.ops.cuda import field as cuda

        return cuda.nerf_field(
            x, batch, ray_features.detach(), ray_index, list(sigma_weights), list(color_weights), spec,
            starts_of(x, batch, frame_offsets), density_shift, density_scale,
        )  # fmt: skip
    offsets = frames_of(x, batch, frame_offsets)
    run = native.nerf_field if runs_native(spec, *tensors) else reference.nerf_field
    return run(
        x, batch, ray_features.detach(), ray_index, list(sigma_weights), list(color_weights), spec, offsets,
        density_shift, density_scale,
    )  # fmt: skip
