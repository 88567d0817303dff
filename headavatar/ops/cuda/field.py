"""The field on the card: the hash grid's kernel, then one kernel for each network with what follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headavatar.ops import backend
from headavatar.ops.cuda import network, tcnn
from headavatar.ops.cuda.hashgrid import encode, encode_backward, encode_backward_points, hash_encode
from headavatar.ops.reference.field import field_of_encoded

if TYPE_CHECKING:
    from headavatar.ops.hashgrid import HashGridSpec


class _Field(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, table: Tensor, features: Tensor, ray_index: Tensor, starts: Tensor, spec: HashGridSpec,
        shapes: tuple[network.Shape, network.Shape], shift: float, scale: float, keep: bool, sigma_weights: Tensor,
        color_weights: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        encoded = encode(x, table, spec, starts)
        raw, sigma, hidden = network.forward(
            shapes[0], encoded, features, ray_index, sigma_weights, starts, network.DENSITY, shift, scale, keep
        )
        rgb, _, color_hidden = network.forward(
            shapes[1], raw, features, ray_index, color_weights, starts, network.SIGMOID, shift, scale, keep
        )
        ctx.settings = (spec, shapes, shift, scale)
        if keep:
            ctx.save_for_backward(
                x, table, features, ray_index, starts, sigma_weights, color_weights, encoded, raw, hidden, rgb,
                color_hidden,
            )  # fmt: skip
        return sigma, rgb

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_sigma: Tensor, grad_rgb: Tensor) -> tuple[Tensor | None, ...]:
        x, table, features, ray_index, starts, sigma_weights, color_weights, *kept = ctx.saved_tensors
        encoded, raw, hidden, rgb, color_hidden = kept
        spec, shapes, shift, scale = ctx.settings
        grad_sigma, grad_rgb = grad_sigma.contiguous(), grad_rgb.contiguous()
        grad_raw = torch.empty_like(raw)
        grad_color = network.backward(
            shapes[1], raw, features, ray_index, color_weights, starts, network.SIGMOID, shift, scale, rgb,
            color_hidden, grad_rgb, grad_sigma, grad_raw,
        )  # fmt: skip
        wanted = ctx.needs_input_grad
        grad_encoded = torch.empty_like(encoded)
        grad_density = network.backward(
            shapes[0], encoded, features, ray_index, sigma_weights, starts, network.DENSITY, shift, scale, raw,
            hidden, grad_raw, grad_sigma, grad_encoded if wanted[0] or wanted[1] else None,
        )  # fmt: skip
        grad_x = encode_backward_points(x, table, spec, starts, grad_encoded) if wanted[0] else None
        grad_table = encode_backward(x, table.shape, spec, starts, grad_encoded) if wanted[1] else None
        return grad_x, grad_table, *[None] * 8, grad_density, grad_color


def nerf_field(
    x: Tensor,
    table: Tensor,
    ray_features: Tensor,
    ray_index: Tensor,
    sigma_weights: list[Tensor],
    color_weights: list[Tensor],
    spec: HashGridSpec,
    starts: Tensor,
    density_shift: float,
    density_scale: float,
) -> tuple[Tensor, Tensor]:
    """`ops.nerf_field` with the table as (B, P); points from starts[-1] on have neither density nor gradients.

    With tinycudann, or with networks that the kernels do not take, its parts run one by one.
    """
    geometry = sigma_weights[-1].shape[0] - 1
    shape = network.shape_of(sigma_weights)
    color_shape = network.shape_of(color_weights, ray_features.shape[1], skip=1) if geometry else None
    elsewhere = backend.current(x.device) == "tinycudann" and tcnn.takes(sigma_weights) and tcnn.takes(color_weights)
    if elsewhere or shape is None or color_shape is None:
        encoded = hash_encode(x, table, spec, starts)
        sigma, rgb = field_of_encoded(
            encoded, ray_features, ray_index, sigma_weights, color_weights, density_shift, density_scale,
            network.fused_mlp,
        )  # fmt: skip
        inside = torch.arange(len(x), device=x.device) < starts[-1]
        return torch.where(inside, sigma, 0.0), torch.where(inside[:, None], rgb, 0.0)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, table, *sigma_weights, *color_weights))
    result: tuple[Tensor, Tensor] = _Field.apply(
        x.contiguous(), table.contiguous(), ray_features.contiguous(), ray_index.contiguous(), starts, spec,
        (shape, color_shape), density_shift, density_scale, keep, network.flat(sigma_weights),
        network.flat(color_weights),
    )  # fmt: skip
    return result
