"""Procedural eyeballs: a sphere with an iris disc and the cornea's bulge, in place of MakeHuman's coarse helpers."""

from __future__ import annotations

import numpy as np

from headavatar.scene import Array

SEGMENTS = 24
IRIS_RADIUS = 0.00585
"""Metres: the iris of an adult measures 11.7 mm across with little variation."""
_CORNEA_RADIUS = 0.0090
# Polar angles as shares of the limbus' angle, then degrees behind it; front to back.
_FRONT = (0.35, 0.68, 0.88, 1.0)
_BEHIND = (31.0, 40.0, 50.0, 62.0, 76.0, 92.0, 112.0, 138.0)
LIMBUS_RING = len(_FRONT) - 1


def fit_sphere(points: Array) -> tuple[Array, Array]:
    """Centers (M, 3) and radii (M,) of the spheres that fit (M, K, 3) points best, least squares."""
    origin = points.mean(1, keepdims=True)
    local = points - origin
    design = np.concatenate([2 * local, np.ones_like(local[..., :1])], -1)
    squares = (local**2).sum(-1, keepdims=True)
    solution = np.linalg.solve(design.swapaxes(1, 2) @ design, design.swapaxes(1, 2) @ squares)[..., 0]
    radius = np.sqrt(solution[:, 3] + (solution[:, :3] ** 2).sum(-1))
    return solution[:, :3] + origin[:, 0], radius


def eyeball(radius: float) -> tuple[Array, Array, Array]:
    """An eyeball at the origin, looking along +z.

    Args:
        radius: of the sphere, metres.
    Returns:
        vertices (K, 3); quads (Q, 4), triangles at the poles repeating their last corner; (Q, 4, 2), a flat layout of
        their corners in [-1, 1].
    """
    limbus = np.arcsin(IRIS_RADIUS / radius)
    polar = np.concatenate([np.array(_FRONT) * limbus, np.radians(_BEHIND)])
    # Mirror symmetric: an even number of segments starting on the axis.
    around = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    rings = []
    for angle in polar:
        r, z = radius * np.sin(angle), radius * np.cos(angle)
        z = max(z, _cornea_height(r, radius))
        rings.append(np.stack([r * np.cos(around), r * np.sin(around), np.full(SEGMENTS, z)], 1))
    front = np.array([[0, 0, _cornea_height(0.0, radius)]])
    back = np.array([[0, 0, -radius]])
    vertices = np.concatenate([front, *rings, back])

    ring = lambda k: 1 + k * SEGMENTS + np.arange(SEGMENTS)  # noqa: E731
    after = lambda k: np.roll(ring(k), -1)  # noqa: E731
    last = len(polar) - 1
    faces = [np.stack([np.zeros(SEGMENTS, int), ring(0), after(0), after(0)], 1)]
    faces += [np.stack([ring(k), ring(k + 1), after(k + 1), after(k)], 1) for k in range(last)]
    faces.append(np.stack([ring(last), np.full(SEGMENTS, len(vertices) - 1), after(last), after(last)], 1))

    # The iris and the visible white get most of the texture; the pole at the back is the disc's rim.
    spread = np.interp(polar, [0, limbus, np.radians(76), np.radians(138)], [0, 0.5, 0.88, 0.96])
    circle = np.stack([np.cos(around), np.sin(around)], 1)
    quads = np.concatenate(faces)
    flat = np.concatenate([np.zeros((1, 2)), *(s * circle for s in spread), np.zeros((1, 2))])[quads]
    middle = around + np.pi / SEGMENTS
    flat[-SEGMENTS:, 1] = np.stack([np.cos(middle), np.sin(middle)], 1)
    return vertices, quads, flat


def _cornea_height(r: float, radius: float) -> float:
    """Height of the cornea's cap over the distance r from the axis; -inf outside the limbus."""
    if r > IRIS_RADIUS:
        return -np.inf
    base = np.sqrt(radius**2 - IRIS_RADIUS**2)
    return float(base + np.sqrt(_CORNEA_RADIUS**2 - r**2) - np.sqrt(_CORNEA_RADIUS**2 - IRIS_RADIUS**2))
