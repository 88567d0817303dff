"""Find borders on the head by walking over its front view."""

from __future__ import annotations

import numpy as np

from headavatar.scene import Array

_STEP = 2e-4
"""Stride of a walk, metres."""
_COARSE = 5
"""Strides taken at once until the border is crossed."""
_REACH = 0.05
_DIRECTIONS = 240


def walk_border(
    vertices: Array, faces: Array, ignored: Array, start: Array, within: Array, stretch: float
) -> tuple[list[tuple[int, Array]], Array]:
    """Walk from a start outwards in the front view, in all directions, until the visible triangle is no longer within.

    Args:
        vertices: (V, 3). faces: (F, 3). ignored: (V,) bool, vertices whose triangles count as glass.
        start: (2,) x and y, metres.
        within: (F,) bool.
        stretch: how much wider than high the region is, so that directions spread evenly along its border.
    Returns:
        the first triangle outside, with its weights, per direction; and the (N, 2) points.
    """
    near = np.abs(vertices[faces].mean(1)[:, :2] - start).max(1) < _REACH
    candidates = np.flatnonzero(near & ~ignored[faces].any(1))
    corners = vertices[faces[candidates]]
    outside = ~within[candidates]

    def crossing(points: Array) -> tuple[int, int, Array] | None:
        triangles, weights = visible(points, corners)
        over = np.flatnonzero((triangles >= 0) & outside[triangles])
        return (int(over[0]), int(triangles[over[0]]), weights[over[0]]) if len(over) else None

    places, found = [], []
    strides = np.arange(1, int(_REACH / _STEP))
    for angle in np.linspace(-np.pi, np.pi, _DIRECTIONS, endpoint=False):
        direction = np.array([np.cos(angle) * stretch, np.sin(angle)])
        path = start + strides[:, None] * _STEP * direction / np.linalg.norm(direction)
        first = crossing(path[::_COARSE])
        if first is None:
            continue
        # The stride that crossed lies among the last few.
        begin = max((first[0] - 1) * _COARSE, 0)
        last = crossing(path[begin : first[0] * _COARSE + 1])
        assert last is not None
        places.append((int(candidates[last[1]]), last[2]))
        found.append(path[begin + last[0]])
    return places, np.array(found)


def visible(points: Array, corners: Array) -> tuple[Array, Array]:
    """The front-most triangle over each point of the front view.

    Args:
        points: (P, 2) x and y.
        corners: (F, 3, 3).
    Returns:
        triangles (P,), -1 where there is none, and weights (P, 3).
    """
    low, high = corners[..., :2].min(1), corners[..., :2].max(1)
    which, over = np.nonzero(((points[:, None] >= low) & (points[:, None] <= high)).all(-1))
    a, b, c = (corners[over, k, :2] for k in range(3))
    u, v, w = b - a, c - a, points[which] - a
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    area = np.where(np.abs(area) > 1e-14, area, np.inf)
    second = (w[:, 0] * v[:, 1] - w[:, 1] * v[:, 0]) / area
    third = (u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0]) / area
    weights = np.stack([1 - second - third, second, third], 1)
    depth = (weights * corners[over][..., 2]).sum(1)
    hit = np.flatnonzero((weights >= 0).all(1) & np.isfinite(area))
    order = hit[np.argsort(depth[hit], kind="stable")]
    triangles, result = np.full(len(points), -1), np.zeros((len(points), 3))
    # Written from back to front: the front-most stays.
    triangles[which[order]] = over[order]
    result[which[order]] = weights[order]
    return triangles, result
