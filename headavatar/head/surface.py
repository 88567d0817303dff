"""The nearest spot of a triangle mesh to many points at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from headavatar.scene import Array

_CANDIDATES = 16
_CHUNK = 2000
_AVERSE = 1.0
"""Square metres added where a triangle faces another way than it should."""


def normals(vertices: Array, faces: Array) -> Array:
    """(V, 3) unit normals, the faces' weighed by area; 0 where a vertex has no face."""
    flat = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    result = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(result, faces[:, k], flat)
    length = np.linalg.norm(result, axis=1, keepdims=True)
    return np.asarray(result / np.maximum(length, 1e-15))


@dataclass(frozen=True)
class Spots:
    """N places on a mesh.

    Attributes:
        faces: (N,) triangles.
        bary: (N, 3).
        distance: (N,) metres from the points asked for.
        agrees: (N,) bool: the triangle faces the way it should.
    """

    faces: Array
    bary: Array
    distance: Array
    agrees: Array

    def of(self, values: Array, triangles: Array) -> Array:
        """Vertex values (..., V, C) at the spots, (..., N, C)."""
        corners = triangles[self.faces]
        return np.asarray(sum(values[..., corners[:, k], :] * self.bary[:, k, None] for k in range(3)))


class Surface:
    """A triangle mesh that can be asked for its nearest spots.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3).
        usable: (F,) bool: triangles that may be answered; all if None.
    """

    def __init__(self, vertices: Array, faces: Array, usable: Array | None = None) -> None:
        self.index = np.arange(len(faces)) if usable is None else np.flatnonzero(usable)
        self.corners = vertices[faces[self.index]].astype(np.float64)
        flat = np.cross(self.corners[:, 1] - self.corners[:, 0], self.corners[:, 2] - self.corners[:, 0])
        self.normals = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-15)
        self._tree = cKDTree(self.corners.mean(1))

    def nearest(self, points: Array, directions: Array | None = None, least: float = 0.3) -> Spots:
        """The nearest spots.

        Args:
            points: (N, 3).
            directions: (N, 3) unit vectors; triangles whose normal's cosine with them is below `least` come last.
        """
        parts = [
            self._nearest(points[i : i + _CHUNK], None if directions is None else directions[i : i + _CHUNK], least)
            for i in range(0, len(points), _CHUNK)
        ]
        return Spots(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _nearest(self, points: Array, directions: Array | None, least: float) -> tuple[Array, Array, Array, Array]:
        _, near = self._tree.query(points, min(_CANDIDATES, len(self.index)))
        weights = closest_weights(points[:, None], self.corners[near])
        spots = np.einsum("nkc,nkcd->nkd", weights, self.corners[near])
        squared = ((spots - points[:, None]) ** 2).sum(-1)
        agrees = np.ones(near.shape, bool)
        if directions is not None:
            agrees = np.einsum("nkd,nd->nk", self.normals[near], directions) >= least
        best = (squared + _AVERSE * ~agrees).argmin(1)
        rows = np.arange(len(points))
        return (
            self.index[near[rows, best]], weights[rows, best], np.sqrt(squared[rows, best]), agrees[rows, best]
        )  # fmt: skip


def closest_weights(points: Array, triangles: Array) -> Array:
    """Weights of the spot of each triangle that is nearest to each point.

    Args:
        points: (..., 3).
        triangles: (..., 3, 3).
    Returns:
        (..., 3).
    """
    a, b, c = triangles[..., 0, :], triangles[..., 1, :], triangles[..., 2, :]
    u, v, w = b - a, c - a, points - a
    uu, vv, uv = (u * u).sum(-1), (v * v).sum(-1), (u * v).sum(-1)
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    area = np.maximum(uu * vv - uv * uv, 1e-24)
    second, third = (vv * uw - uv * vw) / area, (uu * vw - uv * uw) / area
    inside = np.stack([1 - second - third, second, third], -1)
    options = [inside]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, edge = triangles[..., i, :], triangles[..., j, :] - triangles[..., i, :]
        share = np.clip(((points - start) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-24), 0, 1)
        weights = np.zeros_like(inside)
        weights[..., i], weights[..., j] = 1 - share, share
        options.append(weights)
    stacked = np.stack(options)
    spots = np.einsum("o...k,...kd->o...d", stacked, triangles)
    squared = ((spots - points) ** 2).sum(-1)
    squared[0][(inside < 0).any(-1)] = np.inf
    return np.take_along_axis(stacked, squared.argmin(0)[None, ..., None], 0)[0]
