"""Large steps on a mesh: offsets are a smoothed latent, so that a gradient step moves whole regions without folding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_matrix, diags, identity
from scipy.sparse.linalg import SuperLU, splu
from torch import Tensor

from ...scene import Array


def edges_of(faces: Array) -> Array:
    """(E, 2) the edges of triangles (F, 3), lower vertex first, each once."""
    ends = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    count = int(faces.max(initial=0)) + 1
    numbers = np.unique(ends.min(1).astype(np.int64) * count + ends.max(1))  # of rows it takes five times as long
    return np.stack(np.divmod(numbers, count), 1)


class Smoother:
    """Solves (I + weight L) x = rhs, L the combinatorial Laplacian of a mesh's edges.

    The matrix is factorized once, on the CPU; values on another device travel there and back. It is symmetric, so the
    gradient of a solve is a solve.

    Args:
        faces: (F, 3) triangles.
        vertex_count: V.
        weight: how far values spread; a sharp peak comes out about sqrt(weight) edges wide. 0 changes nothing.
    Source: Nicolet, Jacobson and Jakob, Large Steps in Inverse Rendering of Geometry, 2021, equations 7 to 9.
    """

    def __init__(self, faces: Tensor, vertex_count: int, weight: float) -> None:
        if weight < 0:
            raise ValueError(f"a smoothing weight of {weight} would sharpen")
        start, end = edges_of(faces.cpu().numpy()).T
        near = csc_matrix((np.ones(len(start)), (start, end)), (vertex_count, vertex_count))
        near = near + near.T
        self.vertex_count, self.weight = vertex_count, float(weight)
        self._matrix = (identity(vertex_count) + weight * (diags(np.asarray(near.sum(1)).reshape(-1)) - near)).tocsc()
        self._factors: SuperLU = splu(
            self._matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )

    def solve(self, rhs: Tensor) -> Tensor:
        """Smooth values; differentiable.

        Args:
            rhs: (V, C).
        Returns:
            (V, C) x with (I + weight L) x = rhs, in rhs's precision and on its device.
        """
        return _Solve.apply(rhs, self._factors)

    def unsolve(self, values: Tensor) -> Tensor:
        """The (V, C) latent whose `solve` is values (V, C); not differentiable."""
        latent = self._matrix @ values.detach().cpu().numpy().astype(np.float64)
        return torch.from_numpy(latent).to(values)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rhs: Tensor, factors: SuperLU) -> Tensor:
        ctx.factors = factors
        return _solved(factors, rhs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _solved(ctx.factors, gradients[0]), None


def _solved(factors: SuperLU, rhs: Tensor) -> Tensor:
    return torch.from_numpy(factors.solve(rhs.detach().cpu().numpy().astype(np.float64))).to(rhs)
