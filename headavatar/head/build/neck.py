"""Cut the neck with a plane, as an operator that treats the template and every basis alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headavatar.scene import Array


@dataclass(frozen=True)
class Clip:
    """A mesh cut by a plane.

    Attributes:
        first, second: (K,) vertices of the uncut mesh; an uncut vertex has both the same.
        blend: (K,) share of `second`.
        polygons: faces of the cut mesh, three to five corners each.
    """

    first: Array
    second: Array
    blend: Array
    polygons: list[list[int]]

    def apply(self, values: Array) -> Array:
        """Carry (..., N, C) values of the uncut mesh to the (..., K, C) vertices of the cut one."""
        t = self.blend[:, None]
        return (1 - t) * values[..., self.first, :] + t * values[..., self.second, :]

    def quads(self) -> Array:
        """(Q, 4) faces; a triangle repeats its last corner, a pentagon becomes a quad and a triangle."""
        cut = self.first != self.second
        quads = []
        for p in self.polygons:
            if len(p) == 5:
                # The corner away from the cut is split off: the same way on the left and on the right.
                start = next(k for k in range(5) if cut[p[k]] and cut[p[(k + 1) % 5]])
                p = p[start:] + p[:start]
                quads.append([p[0], p[1], p[2], p[4]])
                p = p[2:]
            quads.append([*p, p[-1]] if len(p) == 3 else p)
        return np.array(quads)


def clip(vertices: Array, quads: Array, point: Array, normal: Array, seed: int) -> Clip:
    """Keep what lies on the plane's positive side and hangs together with one vertex.

    Args:
        vertices: (N, 3) metres.
        quads: (Q, 4).
        point, normal: the plane; its normal points towards what is kept.
        seed: a vertex of the part kept.
    """
    side = (vertices - point) @ normal
    # A vertex nearly on the plane counts as kept: else the cut makes slivers.
    inside = side > -1e-4
    quads = quads[_connected(quads, inside, seed)]
    numbers: dict[tuple[int, int], int] = {}

    def number(a: int, b: int) -> int:
        return numbers.setdefault((min(a, b), max(a, b)), len(numbers))

    polygons = []
    for quad in quads.tolist():
        polygon = []
        for a, b in zip(quad, quad[1:] + quad[:1], strict=True):
            if inside[a]:
                polygon.append(number(a, a))
            if inside[a] != inside[b]:
                polygon.append(number(a, b))
        if len(polygon) >= 3:
            polygons.append(polygon)
    pairs = np.array(list(numbers))
    first, second = pairs[:, 0], pairs[:, 1]
    span = side[second] - side[first]
    blend = np.where(first == second, 0.0, -side[first] / np.where(span == 0, 1.0, span))
    return Clip(first, second, blend, polygons)


def _connected(quads: Array, inside: Array, seed: int) -> Array:
    """(Q,) faces reachable from the seed over vertices that are inside."""
    reached = np.zeros(len(inside), bool)
    reached[seed] = True
    while True:
        touched = np.asarray((reached[quads] & inside[quads]).any(1))
        grown = reached.copy()
        grown[quads[touched]] = True
        grown &= inside
        if (grown == reached).all():
            return touched
        reached = grown
