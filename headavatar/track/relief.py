"""How far each surfel stands off the mesh, by parallax: hair's bulk and whatever identity cannot say.

A surfel at the wrong depth slides over the picture as the head turns. With poses and colors held, each one's best
offset along its normal is a problem of its own, tied to its neighbors so that the surface stays smooth.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree
from torch import Tensor

from headavatar.track.appearance import Colors, cauchy
from headavatar.track.landmark_fit import Motion, projection_jacobian
from headavatar.track.surfels import Surfels
from headavatar.track.views import Look, View

NEIGHBORS = 8
DEEPEST_M, HIGHEST_M = -0.02, 0.05
_SMOOTH = 2e3
_SMALL = 100.0
"""Priors per frame and square metre, where a color off by the robust scale costs 1."""


class Relief:
    """Offsets of N surfels along their normals.

    Attributes:
        height: (N,) metres.
    """

    def __init__(self, surfels: Surfels, height: Tensor | None = None) -> None:
        self.height = torch.zeros(len(surfels)) if height is None else height
        place, normals = surfels.shape.numpy(), surfels.normals.numpy()
        _, near = cKDTree(place).query(place, NEIGHBORS + 1)
        rows, columns = np.repeat(np.arange(len(place)), NEIGHBORS), near[:, 1:].ravel()
        likeness = np.clip((normals[rows] * normals[columns]).sum(1), 0, 1)  # across a fold nothing is shared
        weights = sparse.coo_matrix((likeness, (rows, columns)), shape=(len(place), len(place))).tocsr()
        weights = (weights + weights.T) / 2
        self._laplacian = sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights

    def update(self, look: Look, motion: Motion, colors: Colors, given: Tensor, robust: float) -> None:
        """One Gauss-Newton step of all offsets from the frames of which (T,) bool `given` is true."""

        def sums(rows: slice, view: View) -> tuple[Tensor, Tensor]:
            kept = given[look.frames[rows]]
            residual = colors.residual(view.glimpse)
            weight = view.glimpse.weight * colors.confidence * kept[:, None]
            weight = weight * cauchy(residual, robust) / robust**2
            along = (projection_jacobian(view.world, look.focal) * view.normals[..., None, :]).sum(-1)
            by_x, by_y = view.slopes()
            slope = by_x * along[..., :1] + by_y * along[..., 1:]
            return (weight * slope.square().sum(-1)).sum(0), (weight * (slope * residual).sum(-1)).sum(0)

        square, pull = torch.zeros_like(self.height), torch.zeros_like(self.height)
        for _, (squares, pulls) in look.each(motion, sums, given):
            square += squares
            pull += pulls
        count = int(given[look.frames].sum())
        height = self.height.double().numpy()
        matrix = sparse.diags(square.double().numpy() / count + _SMALL) + _SMOOTH * self._laplacian
        gradient = pull.double().numpy() / count + _SMALL * height + _SMOOTH * (self._laplacian @ height)
        step = torch.from_numpy(spsolve(matrix.tocsc(), gradient)).float()
        self.height = (self.height - step).clamp(DEEPEST_M, HIGHEST_M)
