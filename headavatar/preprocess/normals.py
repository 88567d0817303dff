"""Normals of the face, rendered from the mesh that the landmarks span."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from headavatar.ops import interpolate, rasterize
from headavatar.scene import Array

DISTANCE = 100.0
"""Depth at which the mesh is put, in crop sides: far enough that it is seen as good as in parallel."""


@lru_cache(maxsize=1)
def face_triangles() -> Array:
    """(F, 3) triangles of the first 468 landmarks, counter-clockwise as the viewer sees them."""
    from mediapipe.tasks.python.vision import FaceLandmarksConnections

    edges = FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION  # three edges in a row go around one triangle
    return np.array([[edges[i].start, edges[i + 1].start, edges[i + 2].start] for i in range(0, len(edges), 3)])


def face_normals(points: Array, size: int) -> Array:
    """Render a face's normals.

    Args:
        points: (478, 3) landmarks in pixels of the crop, z in the same scale, smaller is nearer.
        size: the crop's side, pixels.
    Returns:
        (size, size, 3) uint8, normal * 0.5 + 0.5 in camera space with x right, y up, z to the viewer; 0 off the face.
    """
    triangles = face_triangles()
    seen = points[:468].astype(np.float64) * np.array([1.0, -1.0, -1.0])
    corners = seen[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(seen)
    for k in range(3):
        np.add.at(normals, triangles[:, k], across)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    placed = points[:468].astype(np.float32)
    placed[:, 2] = placed[:, 2] / size + DISTANCE
    faces = torch.from_numpy(triangles)
    with torch.no_grad():
        fragments = rasterize(torch.from_numpy(placed), faces, size, size)
        picture = interpolate(torch.from_numpy(normals.astype(np.float32)), faces, fragments).numpy()
    picture /= np.maximum(np.linalg.norm(picture, axis=-1, keepdims=True), 1e-9)
    return np.where(fragments.mask.numpy()[..., None], np.round((picture * 0.5 + 0.5) * 255), 0).astype(np.uint8)
