"""Where the eyes and the parted lips open in the front view: lines that two heads share, however they are meshed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import label

from headavatar.ops.raster import rasterize
from headavatar.scene import Array

PER_ARC = 11
_PIXEL_M = 1.5e-4
_WINDOW_M = (0.09, 0.06)
_DEEP_M = 0.010
"""Between the lips lies what is this much deeper than they."""
_LEAST_PIXELS = 200


@dataclass(frozen=True)
class Rims:
    """N points along the rims of both eyes and of the mouth, the same for every head.

    Attributes:
        corners: (N, 3) vertices of the triangles that they lie on. bary: (N, 3).
    """

    corners: Array
    bary: Array

    def of(self, values: Array) -> Array:
        """Vertex values (..., V, 3) at the points, (..., N, 3)."""
        return np.asarray(np.einsum("...nkc,nk->...nc", values[..., self.corners, :], self.bary))


def rims(vertices: Array, faces: Array, eyes: Array, centers: Array, mouth: Array) -> Rims | None:
    """Find the openings in a front view.

    Args:
        vertices: (V, 3) lips parted, +y up, +z out of the face, metres.
        faces: (F, 3) triangles, eyeballs included, lashes left out.
        eyes: (V, 2) bool: left and right eyeball.
        centers: (2, 3) of the eyeballs.
        mouth: (3,) about where the lips part.
    Returns:
        `PER_ARC` points on the upper and as many on the lower rim of left eye, right eye and mouth, from the right to
        the left; or None where an opening cannot be found.
    """
    deep = vertices[faces].mean(1)[:, 2] < mouth[2] - _DEEP_M
    openings = [(center, np.asarray(eyes[faces, k].all(1)), False) for k, center in enumerate(centers)]
    corners, bary = [], []
    for center, within, through in (*openings, (mouth, deep, True)):
        seen, weights = _front_view(vertices, faces, center)
        inside = np.where(seen >= 0, within[seen], through)
        places = _rim(inside, seen)
        if places is None:
            return None
        rows, columns = places
        corners.append(faces[seen[rows, columns]])
        bary.append(weights[rows, columns])
    return Rims(np.concatenate(corners), np.concatenate(bary).astype(np.float64))


def _front_view(vertices: Array, faces: Array, center: Array) -> tuple[Array, Array]:
    """Triangles (h, w) and weights (h, w, 3) of the front view around a point, orthographic; -1 where there is none."""
    width, height = (round(size / _PIXEL_M) for size in _WINDOW_M)
    x = (vertices[:, 0] - center[0]) / _PIXEL_M + width / 2
    y = (center[1] - vertices[:, 1]) / _PIXEL_M + height / 2
    screen = np.stack([x, y, 1 + vertices[:, 2].max() - vertices[:, 2]], 1)
    fragments = rasterize(torch.from_numpy(screen).float(), torch.from_numpy(faces), height, width)
    return fragments.face_index.numpy(), fragments.bary.numpy()


def _rim(inside: Array, seen: Array) -> tuple[Array, Array] | None:
    """Rows and columns of pixels along the rim of the opening nearest to the middle: above, then below."""
    pieces, count = label(inside)
    if not count:
        return None
    edge = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    sizes[edge] = 0
    piece = int(sizes.argmax())
    if sizes[piece] < _LEAST_PIXELS:
        return None
    opening = pieces == piece
    columns = np.flatnonzero(opening.any(0))
    shares = (np.arange(PER_ARC) + 0.5) / PER_ARC
    chosen = columns[(shares * len(columns)).astype(int)]
    top = opening[:, chosen].argmax(0) - 1
    bottom = len(opening) - opening[::-1, chosen].argmax(0)
    rows, columns = np.concatenate([top, bottom]), np.concatenate([chosen, chosen])
    return (rows, columns) if (seen[rows, columns] >= 0).all() else None
