"""A model of FLAME's shape that is nobody's: the embedded head, warped into another person and meshed anew.

It has FLAME's counts (5,023 vertices, 9,976 triangles, two closed eyeballs of 546 vertices, an open mouth, 300 + 100
directions, five joints, pose correctives) and comes in a pickle as Python 2 wrote them. Where each vertex lies on the
embedded head is known, so what is derived from the file can be measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from python2_pickle import Ch, write

from headavatar.head import HeadModel, load
from headavatar.scene import ARKIT_NAMES, Array

VERTICES, FACES, EYE = 5023, 9976, 546
_RINGS, _SEGMENTS = 17, 32
NO_PARENT = 4294967295


@dataclass(frozen=True)
class FlameLike:
    """The arrays of the pickle, and the truth.

    Attributes:
        content: key → array.
        face, bary: (3931,) and (3931, 3) where each vertex of the skin lies on the embedded head.
        origin: (3,) FLAME's origin in the warped head's space.
    """

    content: dict[str, Any]
    face: Array
    bary: Array
    origin: Array

    def pickle(self, path: Path) -> Path:
        """Write it as FLAME's files are: Python 2, chumpy, scipy."""
        content = dict(self.content)
        content["shapedirs"] = Ch(content["shapedirs"])
        content["J_regressor"] = scipy.sparse.csc_matrix(content["J_regressor"])
        write(path, content)
        return path


@cache
def make(seed: int = 5) -> FlameLike:
    """Make one; the same seed makes the same."""
    rng = np.random.default_rng(seed)
    head = load()
    face, bary, faces = _meshed(head, rng)
    corners = head.faces.numpy()[face]

    def carried(values: Array) -> Array:
        """(..., N, 3) values of the embedded vertices at the new ones."""
        return np.einsum("...nkc,nk->...nc", values[..., corners, :], bary)

    warp = _Warp(rng)
    identity = rng.normal(0, 0.5, head.identity_size).astype(np.float32)
    identity[40:] = 0
    whole = head.vertices(torch.from_numpy(identity), torch.zeros(1, 52))[0].numpy().astype(np.float64)
    skin = warp(carried(whole))
    joints = warp(head.joint_positions(torch.from_numpy(identity)).numpy().astype(np.float64))
    balls = [_ball(head, identity, warp, k) for k in range(2)]
    template = np.concatenate([skin, *(points for points, _ in balls)])
    eye_faces = [quad + len(skin) + k * EYE for k, (_, quad) in enumerate(balls)]
    triangles = np.concatenate([faces, *eye_faces])
    assert template.shape == (VERTICES, 3) and triangles.shape == (FACES, 3)

    nested = np.einsum("nkj,nk->nj", head.weights.numpy()[corners], bary)
    weights = np.zeros((VERTICES, 5))
    weights[: len(skin), 0], weights[: len(skin), 2] = 1 - nested[:, 0], nested[:, 0] * nested[:, 1]
    weights[: len(skin), 1] = nested[:, 0] * (1 - nested[:, 1])
    weights[len(skin) : len(skin) + EYE, 3] = weights[len(skin) + EYE :, 4] = 1
    origin = np.array([0.0, 0.021, 0.034]) + rng.normal(0, 0.003, 3)
    five = np.concatenate([[joints[0] - [0, 0.03, 0.01]], joints])
    regressor = np.stack([_regression(template, weights, place, k) for k, place in enumerate(five)])
    content = {
        "v_template": template - origin,
        "f": triangles.astype(np.uint32),
        "shapedirs": np.concatenate(
            [_shapes(head, carried, len(skin), rng), _expressions(head, carried, len(skin), rng)]
        ).transpose(1, 2, 0),
        "posedirs": np.asfortranarray(_correctives(template, weights, rng)),
        "J_regressor": regressor,
        "J": regressor @ (template - origin),
        "weights": weights,
        "kintree_table": np.array([[NO_PARENT, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.int64),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    return FlameLike(content, face, bary, origin)


class _Warp:
    """A smooth deformation of a few millimetres: another person than the embedded head's modes can say."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.scale = np.array([1.03, 0.97, 1.02])
        half = rng.normal(0, 18, (4, 3))
        self.waves = half
        self.phases = rng.uniform(0, 2 * np.pi, 4)
        self.pushes = rng.normal(0, 0.0012, (4, 3)) * [0, 1, 1]

    def __call__(self, points: Array) -> Array:
        even = points * [0, 1, 1]  # both sides alike
        return points * self.scale + np.sin(even @ self.waves.T + self.phases) @ self.pushes


def _meshed(head: HeadModel, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Skin of 3,931 vertices: the triangle and weights of each on the embedded head, and 7,800 triangles."""
    regions = {name: mask.numpy() for name, mask in head.regions.items()}
    left_out = regions["eyes"] | regions["lashes"] | regions["teeth"] | regions["tongue"]
    faces = head.faces.numpy()
    hidden = left_out[faces].any(1) | regions["mouth_interior"][faces].all(1)
    faces = faces[~hidden]
    mesh = _Mesh(faces, head.template.numpy().astype(np.float64))
    mesh.collapse(VERTICES - 2 * EYE, FACES - 4 * (EYE - 2), rng)
    kept, faces = np.unique(np.array(sorted(mesh.faces.values())), return_inverse=True)
    faces = faces.reshape(-1, 3)
    # Each vertex slides a little into one of its own triangles, both sides alike.
    source = head.faces.numpy()
    chosen, bary = np.empty(len(kept), int), np.zeros((len(kept), 3))
    mirror = head.mirror.numpy()
    by_vertex: dict[int, list[int]] = {}
    usable = np.flatnonzero(~hidden)
    lookup = {tuple(sorted(source[i].tolist())): int(i) for i in usable}
    for i in usable:
        for vertex in source[i]:
            by_vertex.setdefault(int(vertex), []).append(int(i))
    rim = mesh.rim()
    place = {int(vertex): i for i, vertex in enumerate(kept)}
    for i, vertex in enumerate(kept):
        triangle = int(rng.choice(by_vertex[int(vertex)]))
        slide = 0.0 if int(vertex) in rim or mirror[vertex] == vertex else rng.uniform(0, 0.3)
        part = slide * rng.dirichlet(np.ones(3))
        chosen[i], bary[i] = triangle, part + (1 - slide) * (source[triangle] == vertex)
        image = int(mirror[vertex])
        other = lookup.get(tuple(sorted(mirror[source[triangle]].tolist())))
        if image < vertex and image in place and other is not None and image not in rim:
            j = place[image]
            chosen[j] = other
            bary[j] = [bary[i][list(mirror[source[triangle]]).index(corner)] for corner in source[other]]
    return chosen, bary, faces


class _Mesh:
    """Triangles whose edges can be collapsed without tearing the surface."""

    def __init__(self, faces: Array, points: Array) -> None:
        self.faces = {i: tuple(int(v) for v in face) for i, face in enumerate(faces)}
        self.points = points
        self.around: dict[int, set[int]] = {}
        for i, face in self.faces.items():
            for vertex in face:
                self.around.setdefault(vertex, set()).add(i)

    def neighbors(self, vertex: int) -> set[int]:
        return {other for i in self.around[vertex] for other in self.faces[i]} - {vertex}

    def rim(self) -> set[int]:
        """Vertices on a border."""
        return {v for v in self.around if len(self.neighbors(v)) != len(self.around[v])}

    def collapse(self, vertices: int, faces: int, rng: np.random.Generator) -> None:
        surplus, extra = len(self.around) - vertices, len(self.faces) - faces
        inner, outer = extra - surplus, 2 * surplus - extra
        assert inner >= 0 and outer >= 0, (inner, outer)
        self._shorten(inner, False)
        self._shorten(outer, True)
        assert len(self.around) == vertices and len(self.faces) == faces

    def _shorten(self, count: int, at_rim: bool) -> None:
        while count:
            rim = self.rim()
            edges = [(a, b) for a in self.around for b in self.neighbors(a) if a < b]
            if at_rim:
                edges = [(a, b) for a, b in edges if a in rim and b in rim and self._shared(a, b) == 1]
            else:
                edges = [(a, b) for a, b in edges if a not in rim and b not in rim]
            length = [np.linalg.norm(self.points[a] - self.points[b]) for a, b in edges]
            touched: set[int] = set()
            for k in np.argsort(length):
                a, b = edges[k]
                if not count or a in touched or b in touched:
                    continue
                near = self.neighbors(a) | self.neighbors(b)
                common = self.neighbors(a) & self.neighbors(b)
                if not near & touched and len(common) == self._shared(a, b) and len(near) > 6:
                    self._merge(a, b)
                    touched |= near
                    count -= 1

    def _shared(self, a: int, b: int) -> int:
        return len(self.around[a] & self.around[b])

    def _merge(self, kept: int, gone: int) -> None:
        for i in list(self.around.pop(gone)):
            face = self.faces[i]
            if kept in face:
                del self.faces[i]
                for vertex in face:
                    self.around.get(vertex, set()).discard(i)
            else:
                self.faces[i] = tuple(kept if v == gone else v for v in face)
                self.around[kept].add(i)


def _ball(head: HeadModel, identity: Array, warp: _Warp, k: int) -> tuple[Array, Array]:
    """A closed sphere of 546 vertices in the place of an eyeball."""
    center = head.joint_positions(torch.from_numpy(identity))[2 + k].numpy().astype(np.float64)
    own = head.regions[("eye_left", "eye_right")[k]]
    rest = head.template[own].numpy()
    radius = float(np.median(np.linalg.norm(rest - head.joint_template[2 + k].numpy(), axis=1)))
    polar = np.pi * (np.arange(_RINGS) + 1) / (_RINGS + 1)
    around = 2 * np.pi * np.arange(_SEGMENTS) / _SEGMENTS
    ring = np.stack([
        np.sin(polar)[:, None] * np.cos(around), np.sin(polar)[:, None] * np.sin(around),
        np.broadcast_to(np.cos(polar)[:, None], (_RINGS, _SEGMENTS)),
    ], -1).reshape(-1, 3)  # fmt: skip
    points = np.concatenate([[[0, 0, 1.0]], ring, [[0, 0, -1.0]]])
    index = 1 + np.arange(_RINGS * _SEGMENTS).reshape(_RINGS, _SEGMENTS)
    after = np.roll(index, -1, 1)
    faces = [np.stack([np.zeros(_SEGMENTS, int), index[0], after[0]], 1)]
    faces += [np.stack([index[:-1], index[1:], after[1:]], -1).reshape(-1, 3)]
    faces += [np.stack([index[:-1], after[1:], after[:-1]], -1).reshape(-1, 3)]
    faces += [np.stack([index[-1], np.full(_SEGMENTS, EYE - 1), after[-1]], 1)]
    return warp(center[None])[0] + radius * points, np.concatenate(faces)


def _regression(template: Array, weights: Array, place: Array, joint: int) -> Array:
    """(V,) few weights of sum 1 whose mean is the joint."""
    near = np.argsort(np.linalg.norm(template - place, axis=1))[:60]
    if joint >= 3:
        near = np.flatnonzero(weights[:, joint])
    rows = np.concatenate([template[near].T, np.ones((1, len(near)))])
    result = np.zeros(len(template))
    result[near] = np.linalg.lstsq(rows, np.append(place, 1.0), rcond=None)[0]
    return result


def _shapes(head: HeadModel, carried: Any, skin: int, rng: np.random.Generator) -> Array:
    """(300, V, 3) identities: the embedded modes mixed, and as much again that is only smooth."""
    modes = head.identity_basis.numpy()[:60].astype(np.float64)
    turn = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    basis = np.zeros((300, VERTICES, 3))
    basis[:60, :skin] = np.tensordot(turn, carried(modes), 1)
    eyes = np.tensordot(turn, head.joint_basis.numpy()[:60, 2:], 1)
    basis[:60, skin : skin + EYE], basis[:60, skin + EYE :] = eyes[:, :1], eyes[:, 1:]
    waves = np.cos(carried(head.template.numpy()) @ rng.normal(0, 40, (3, 240)) + rng.uniform(0, 6.3, 240))
    basis[60:, :skin] = waves.T[..., None] * rng.normal(0, 2e-4, (240, 1, 3))
    return basis


def _expressions(head: HeadModel, carried: Any, skin: int, rng: np.random.Generator) -> Array:
    """(100, V, 3) expressions: the embedded shapes without the jaw's turn, mixed, and some that no shape needs."""
    shapes = carried(head.expression_basis.numpy().astype(np.float64))
    pivot, jaw = head.joint_template[1].numpy(), head.weights.numpy()[:, 1:2]
    arms = head.template.numpy() - pivot
    for name, axis, angle in (("jawOpen", 0, 0.25), ("jawLeft", 1, 0.08), ("jawRight", 1, -0.08)):
        turn = np.cross(np.eye(3)[axis] * angle, arms)
        shapes[ARKIT_NAMES.index(name)] -= carried(jaw * turn)
    basis = np.zeros((100, VERTICES, 3))
    basis[:52, :skin] = np.tensordot(rng.normal(0, 0.15, (52, 52)), shapes, 1)
    waves = np.cos(carried(head.template.numpy()) @ rng.normal(0, 60, (3, 48)) + rng.uniform(0, 6.3, 48))
    basis[52:, :skin] = waves.T[..., None] * rng.normal(0, 2e-4, (48, 1, 3))
    return basis


def _correctives(template: Array, weights: Array, rng: np.random.Generator) -> Array:
    """(V, 3, 36) what the turning of neck, jaw and eyes adds: half a millimetre where the jaw ends."""
    result = np.zeros((VERTICES, 3, 36))
    border = weights[:, 2] * (1 - weights[:, 2]) * 4
    waves = np.cos(template @ rng.normal(0, 30, (3, 9)) + rng.uniform(0, 6.3, 9))
    result[:, :, 9:18] = (border[:, None] * waves)[:, None] * rng.normal(0, 1e-3, (1, 3, 9))
    return result
