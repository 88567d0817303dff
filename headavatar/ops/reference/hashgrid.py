"""The hash grid in plain torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from headavatar.ops.hashgrid import HashGridSpec

PRIMES = (1, 2654435761, 805459861)
"""Of the spatial hash. Source: M. Teschner et al. 2003; T. Müller et al. 2022, equation 4."""


def blend_tables(weights: Tensor, tables: Tensor) -> Tensor:
    """(B, K) @ (K, P)."""
    return weights @ tables


def hash_encode(x: Tensor, table: Tensor, spec: HashGridSpec, offsets: list[int]) -> Tensor:
    """Points (N, 3) cut into B frames, tables (B, P): (N, levels * features)."""
    parts = [
        _encode(x[start:stop], table[b], spec)
        for b, (start, stop) in enumerate(zip(offsets[:-1], offsets[1:], strict=True))
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _encode(x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    entries = table.view(spec.entries, spec.features)
    x = x.clamp(0, 1)
    encoded = []
    for level in range(spec.levels):
        position = x * spec.scales[level] + 0.5
        cell = position.detach().floor()
        fraction = position - cell
        index = _corner_indices(cell.long(), spec, level)
        start, stop = spec.offsets[level : level + 2]
        values = entries[start:stop].index_select(0, index.view(-1)).view(len(x), 8, spec.features)
        encoded.append((values * _corner_weights(fraction)[..., None]).sum(1))
    return torch.cat(encoded, 1)


def _corner_indices(cell: Tensor, spec: HashGridSpec, level: int) -> Tensor:
    """Entries (N, 8) of a cell's corners; bit d of the corner's number steps along axis d."""
    nodes = spec.nodes[level]
    factors = (1, nodes, nodes * nodes) if spec.is_dense(level) else PRIMES
    axes = [torch.stack((cell[:, d], cell[:, d] + 1), -1) * factors[d] for d in range(3)]
    x, y, z = axes[0][:, None, None, :], axes[1][:, None, :, None], axes[2][:, :, None, None]
    if spec.is_dense(level):
        return (x + y + z).reshape(-1, 8)
    return ((x ^ y ^ z) & ((1 << spec.log2_table) - 1)).reshape(-1, 8)


def _corner_weights(fraction: Tensor) -> Tensor:
    """Trilinear weights (N, 8) of (N, 3) fractions."""
    x, y, z = torch.stack((1 - fraction, fraction), -1).unbind(1)
    return (x[:, None, None, :] * y[:, None, :, None] * z[:, :, None, None]).reshape(-1, 8)
