"""Lay a piece of surface flat without overlaps, each part as large as it deserves."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, diags, identity
from scipy.sparse.linalg import spsolve

from headavatar.scene import Array

_ROUNDS = 30
_DAMPING = 0.5
_HOLE_DENSITY = 0.1


def boundary_loops(faces: Array) -> list[list[int]]:
    """Closed chains of vertices along edges that one triangle only has, each in the direction of its triangles."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    known = set(map(tuple, edges.tolist()))
    after = {a: b for a, b in sorted(known) if (b, a) not in known}
    loops = []
    while after:
        start, vertex = next(iter(after.items()))
        del after[start]
        loop = [start]
        while vertex != start:
            loop.append(vertex)
            vertex = after.pop(vertex)
        loops.append(loop)
    return sorted(loops, key=len, reverse=True)


def superellipse(share: Array, power: float = 4.0) -> Array:
    """(N, 2) points on |x|^p + |y|^p = 1, by share of its length, counter-clockwise from the bottom's middle."""
    angle = np.linspace(-np.pi / 2, 1.5 * np.pi, 4001)
    x, y = np.cos(angle), np.sin(angle)
    curve = np.stack([x, y], 1) / (np.abs(x) ** power + np.abs(y) ** power)[:, None] ** (1 / power)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    return np.stack([np.interp(share * length[-1], length, curve[:, k]) for k in range(2)], 1)


def flatten(vertices: Array, faces: Array, density: Array, start: int, power: float = 4.0) -> Array:
    """Map a disc-like mesh, possibly with holes, into [-1, 1]² without overlaps.

    Each inner vertex is a positive mean of its neighbors and the border is strictly convex, so no triangle can turn
    over (Tutte 1963); the weights are then adjusted until every triangle gets the area that its density asks for.

    Args:
        vertices: (N, 3).
        faces: (F, 3); the longest border becomes the superellipse, all others are zipped up like lips.
        density: (F,) wanted linear scale.
        start: border vertex that goes to the bottom's middle.
        power: of the superellipse.
    Returns:
        (N, 2).
    Source:
        Yoshizawa, Belyaev and Seidel, A fast and simple stretch-minimizing mesh parameterization (SMI 2004).
    """
    border, *holes = boundary_loops(faces)
    for hole in holes:
        strip = _zipped(vertices, hole)
        faces = np.concatenate([faces, strip])
        density = np.concatenate([density, np.full(len(strip), _HOLE_DENSITY)])
    at = border.index(start)
    border = border[at:] + border[:at]
    lengths = np.linalg.norm(vertices[border + border[:1]][1:] - vertices[border], axis=1)
    share = np.concatenate([[0], np.cumsum(lengths)[:-1]]) / lengths.sum()
    edges, weights = _mean_values(vertices, faces)
    fixed = np.zeros(len(vertices), bool)
    fixed[border] = True
    flat = np.zeros((len(vertices), 2))
    flat[border] = superellipse(share, power)
    best, best_stretch = flat, np.inf
    areas = 0.5 * np.linalg.norm(_cross(vertices, faces), axis=1) * density**2
    areas = np.maximum(areas, areas.mean() * 1e-3)
    for _ in range(_ROUNDS):
        flat = _means(flat, edges, weights, fixed)
        stretch = _stretch(vertices, faces, flat) * density
        total = float((areas * stretch**2).sum())
        if total < best_stretch:
            best, best_stretch = flat, total
        local = np.zeros(len(vertices))
        mass = np.zeros(len(vertices))
        for k in range(3):
            np.add.at(local, faces[:, k], areas * stretch**2)
            np.add.at(mass, faces[:, k], areas)
        local = np.sqrt(local / mass)
        weights = weights / np.clip(local[edges[:, 1]] / np.median(local), 0.1, 10) ** _DAMPING
    return best


def _zipped(vertices: Array, loop: list[int]) -> Array:
    """(F, 3) triangles that close a long hole, from its left end to its right one."""
    loop = loop[::-1]  # the closing triangles run against the hole's border
    left, right = int(vertices[loop, 0].argmin()), int(vertices[loop, 0].argmax())
    turned = loop[left:] + loop[:left]
    split = (right - left) % len(loop)
    first, second = turned[: split + 1], [turned[0], *turned[: split - 1 : -1]]
    triangles, i, j = [], 0, 0
    while i < len(first) - 1 or j < len(second) - 1:
        # Advance on the chain that lags behind.
        if j == len(second) - 1 or (i < len(first) - 1 and i * len(second) <= j * len(first)):
            triangles.append([first[i], first[i + 1], second[j]])
            i += 1
        else:
            triangles.append([second[j + 1], second[j], first[i]])
            j += 1
    return np.array([triangle for triangle in triangles if len(set(triangle)) == 3])


def _mean_values(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Directed edges (K, 2) and their mean value weights: positive, true to the triangles' shapes (Floater 2003)."""
    size = len(vertices)
    total = csr_matrix((size, size))
    for k in range(3):
        i, j, n = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        a, b = vertices[j] - vertices[i], vertices[n] - vertices[i]
        la = np.maximum(np.linalg.norm(a, axis=1), 1e-4)
        lb = np.maximum(np.linalg.norm(b, axis=1), 1e-4)
        half = np.tan(0.5 * np.arccos(np.clip((a * b).sum(1) / (la * lb), -0.98, 0.98)))
        total = total + csr_matrix((half / la, (i, j)), (size, size)) + csr_matrix((half / lb, (i, n)), (size, size))
    entries = total.tocoo()
    return np.stack([entries.row, entries.col], 1), entries.data


def _means(flat: Array, edges: Array, weights: Array, fixed: Array) -> Array:
    """Put each free vertex at the weighted mean of its neighbors."""
    size = len(flat)
    matrix = csr_matrix((weights, (edges[:, 0], edges[:, 1])), (size, size))
    matrix = (diags(1 / np.asarray(matrix.sum(1)).ravel()) @ matrix).tocsr()
    free = ~fixed
    left = (identity(int(free.sum())) - matrix[free][:, free]).tocsc()
    result = flat.copy()
    result[free] = spsolve(left, matrix[free][:, fixed] @ flat[fixed])
    return result


def _cross(vertices: Array, faces: Array) -> Array:
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    return np.cross(b - a, c - a)


def _stretch(vertices: Array, faces: Array, flat: Array) -> Array:
    """(F,) root mean square length, on the surface, of a unit step in the plane."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    (s1, t1), (s2, t2), (s3, t3) = (flat[faces[:, k]].T[..., None] for k in range(3))
    area = np.maximum((s2 - s1) * (t3 - t1) - (s3 - s1) * (t2 - t1), 1e-12)
    along_s = (a * (t2 - t3) + b * (t3 - t1) + c * (t1 - t2)) / area
    along_t = (a * (s3 - s2) + b * (s1 - s3) + c * (s2 - s1)) / area
    return np.sqrt(0.5 * ((along_s**2).sum(1) + (along_t**2).sum(1)))
