"""The networks and the radiance field in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headavatar.ops.reference.hashgrid import hash_encode

if TYPE_CHECKING:
    from headavatar.ops.hashgrid import HashGridSpec


def mlp(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Layers without bias, ReLU between them."""
    for weight in weights[:-1]:
        x = torch.relu(x @ weight.T)
    return x @ weights[-1].T


def nerf_field(
    x: Tensor,
    table: Tensor,
    ray_features: Tensor,
    ray_index: Tensor,
    sigma_weights: Sequence[Tensor],
    color_weights: Sequence[Tensor],
    spec: HashGridSpec,
    offsets: list[int],
    density_shift: float,
    density_scale: float,
) -> tuple[Tensor, Tensor]:
    """`ops.nerf_field` with the table as (B, P)."""
    encoded = hash_encode(x, table, spec, offsets)
    return field_of_encoded(
        encoded, ray_features, ray_index, sigma_weights, color_weights, density_shift, density_scale
    )


def field_of_encoded(
    encoded: Tensor,
    ray_features: Tensor,
    ray_index: Tensor,
    sigma_weights: Sequence[Tensor],
    color_weights: Sequence[Tensor],
    density_shift: float,
    density_scale: float,
    network: Callable[[Tensor, Sequence[Tensor]], Tensor] = mlp,
) -> tuple[Tensor, Tensor]:
    """What follows the hash grid: sigma (N,) and rgb (N, 3) of encoded points (N, width)."""
    raw = network(encoded, sigma_weights)
    sigma = density_scale * torch.nn.functional.softplus(raw[:, 0] + density_shift)
    features = torch.cat((raw[:, 1:], ray_features[ray_index.long()]), 1)
    return sigma, torch.sigmoid(network(features, color_weights))
