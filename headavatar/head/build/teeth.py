"""Denser teeth: MakeHuman's strip of 4 × 17 vertices per arch, interpolated and given single teeth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headavatar.scene import Array

# Widths of the teeth from the middle outwards, millimetres: incisors, canine, premolars, molars.
_UPPER = (8.5, 6.5, 7.6, 7.1, 6.8, 10.2, 9.6)
_LOWER = (5.3, 5.9, 6.9, 7.0, 7.1, 11.0, 10.5)
_PER_TOOTH = 4
# Rows of the profile: 0 gum, 1 the crown's middle, 2 the biting edge, 3 the back.
_ROWS = (0.0, 0.55, 1.0, 1.5, 1.85, 2.0, 2.25, 3.0)
_RELIEF, _NOTCH = 0.0014, 0.0007
_OVERJET = 0.0012
"""How far the lower teeth stand behind the upper ones, metres."""


@dataclass(frozen=True)
class Arch:
    """One row of teeth.

    Attributes:
        index: (68,) vertices of the raw head that carry it.
        matrix: (K, 68) how its vertices follow them.
        offset: (K, 3) metres, added at rest.
        quads: (Q, 4) into its own vertices.
        uv: (Q, 4, 2) layout in [0, 1].
    """

    index: Array
    matrix: Array
    offset: Array
    quads: Array
    uv: Array


def arch(vertices: Array, quads: Array, upper: bool) -> Arch:
    """Build one arch.

    Args:
        vertices: (N, 3) the raw head, metres.
        quads: (48, 4) the helper's faces.
        upper: which arch.
    """
    grid = _grid(vertices, quads)  # (17, 4), from the subject's left to the right
    index = np.unique(grid)
    edge = vertices[grid[:, 2]]
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(edge, axis=0), axis=1))])
    half = np.array(_UPPER if upper else _LOWER)
    widths = np.concatenate([half[::-1], half])
    ends = np.concatenate([[0], np.cumsum(widths)]) / widths.sum()
    within = np.arange(_PER_TOOTH) / _PER_TOOTH
    share = np.concatenate([(ends[:-1, None] + np.diff(ends)[:, None] * within).ravel(), [1.0]])
    # 1 on a tooth's middle, 0 between two teeth.
    bump = np.concatenate([np.tile(1 - np.abs(2 * within - 1) ** 3, len(widths)), [0.0]])
    column = np.interp(share * length[-1], length, np.arange(len(grid)))

    along = _catmull_rom(column, len(grid))  # (C, 17)
    across = np.array([[max(0.0, 1 - abs(row - k)) for k in range(4)] for row in _ROWS])  # (R, 4)
    number = np.searchsorted(index, grid)
    matrix = np.zeros((len(column), len(_ROWS), len(index)))
    for c in range(len(grid)):
        for r in range(4):
            matrix[:, :, number[c, r]] += along[:, None, c] * across[None, :, r]

    tangent = np.gradient(along @ edge, axis=0) * [1, 0, 1]
    outward = np.cross(tangent, [0.0, 1.0, 0.0])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    outward *= np.sign(outward[len(outward) // 2, 2])
    rows = np.array(_ROWS)
    relief = np.interp(rows, [0, 0.5, 1.2, 2.0, 2.4, 3], [0, 0.6, 1, 0.7, 0.2, 0])
    offset = outward[:, None] * (relief * (bump[:, None] - 0.5) * _RELIEF)[..., None]
    to_gum = 1.0 if upper else -1.0
    offset[..., 1] += to_gum * np.interp(rows, [1.4, 2, 2.3, 3], [0, 1, 1, 0]) * (1 - bump[:, None]) * _NOTCH
    if not upper:
        offset -= outward[:, None] * _OVERJET
        offset[..., 1] -= 0.0006

    columns, height = len(column), len(_ROWS)
    at = np.arange(columns * height).reshape(columns, height)
    faces = np.stack([at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]], -1)
    u, v = np.meshgrid(share, np.array(_ROWS) / _ROWS[-1], indexing="ij")
    uv = np.stack([1 - u, 1 - v if upper else v], -1).reshape(-1, 2)
    faces = faces.reshape(-1, 4)
    rest = matrix.reshape(-1, len(index)) @ vertices[index] + offset.reshape(-1, 3)
    if _faces_inward(rest, faces, outward, height):
        faces = faces[:, ::-1]
    return Arch(index, matrix.reshape(-1, len(index)), offset.reshape(-1, 3), faces, uv[faces])


def _grid(vertices: Array, quads: Array) -> Array:
    """(17, 4) the strip's vertices in columns from left to right, each from the gum to the back."""
    valence = np.bincount(quads.ravel(), minlength=len(vertices))
    ends = np.flatnonzero(valence == 1)
    gum = ends[np.argmax(vertices[ends, 0])]
    first = next(quad.tolist() for quad in quads if gum in quad)
    # Of the gum's neighbors in its quad, the one further left runs down the side; the strip's end has no next column.
    edges: dict[tuple[int, int], int] = {}
    for quad in quads.tolist():
        for a, b in zip(quad, quad[1:] + quad[:1], strict=True):
            edges[min(a, b), max(a, b)] = edges.get((min(a, b), max(a, b)), 0) + 1
    column = [int(gum)]
    k = first.index(gum)
    sides = [first[(k + 1) % 4], first[k - 1]]
    column.append(max(sides, key=lambda vertex: vertices[vertex, 0]))
    while len(column) < 4:
        column.append(
            next(
                (set(edge) - {column[-1]}).pop()
                for edge, uses in edges.items()
                if uses == 1 and column[-1] in edge and column[-2] not in edge
            )
        )
    columns, left = [column], [quad.tolist() for quad in quads]
    while left:
        last, new = columns[-1], {}
        for a, b in zip(last[:-1], last[1:], strict=True):
            quad = next(q for q in left if a in q and b in q)
            left.remove(quad)
            i, j = quad.index(a), quad.index(b)
            step = 1 if (i - j) % 4 == 1 else -1
            new[a], new[b] = quad[(i + step) % 4], quad[(j - step) % 4]
        columns.append([new[vertex] for vertex in last])
    return np.array(columns)


def _catmull_rom(at: Array, count: int) -> Array:
    """(C, count) weights that interpolate evenly numbered knots smoothly at given places; linear beyond the ends."""
    weights = np.zeros((len(at), count + 2))
    k = np.clip(at.astype(int), 0, count - 2)
    t = at - k
    rows = np.arange(len(at))
    for shift, w in enumerate((-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)):
        weights[rows, k + shift] += w / 2
    # The knots before the first and after the last continue the line: 2 p0 - p1.
    inner = weights[:, 1:-1].copy()
    inner[:, 0] += 2 * weights[:, 0]
    inner[:, 1] -= weights[:, 0]
    inner[:, -1] += 2 * weights[:, -1]
    inner[:, -2] -= weights[:, -1]
    return inner


def _faces_inward(rest: Array, faces: Array, outward: Array, rows: int) -> bool:
    a, b, c = (rest[faces[:, k]] for k in range(3))
    middle = len(outward) // 2 * (rows - 1)
    normal = np.cross(b - a, c - a)[middle : middle + 3].sum(0)
    return bool(normal @ outward[len(outward) // 2] < 0)
