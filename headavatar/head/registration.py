"""Lays the embedded head onto another neutral head, so that each knows where it lies on the other.

Both heads open their jaw first: with parted lips the nearest spot of an upper lip is an upper lip. Then a similarity
and identity modes bring the embedded head close, and at last its skin follows the other one's, as smoothly as it can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags, identity
from scipy.sparse.linalg import splu

from headavatar.head.apertures import Rims, rims
from headavatar.head.model import HeadModel
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.head.surface import Surface, normals
from headavatar.scene import Array

_OPEN_RAD = 0.2
_MODES = 50
_ROUNDS = 14
_EVERY = 3
"""Of the skin's vertices, every so many bring the heads together; all of them follow."""
_LINES_AT = 6
_LINE_PULL = 3.0
_PRIOR = 1e-7
"""Weight of an identity coefficient's square against square metres per point."""
_STIFFNESS = (30.0, 30.0, 10.0, 10.0, 3.0, 1.0, 1.0, 0.3)
_REACH_M = (0.02, 0.012, 0.008)
HIDDEN = ("mouth_interior", "sockets", "eyes", "lashes", "teeth", "tongue")


@dataclass(frozen=True)
class Skin:
    """Another head's neutral skin.

    Attributes:
        vertices: (V, 3) metres, +y up and +z out of the face, about upright; any origin.
        faces: (F, 3) triangles of the skin alone, without eyeballs and teeth.
        jaw: (V,) how far each vertex follows the jaw, and pivot: (3,) about which it turns.
        eyes: (2, 3) centers of the left and right eyeball.
        ball_vertices, ball_faces, ball_sides: the eyeballs: (B, 3), (G, 3), and (B,) 0 for the left one and 1.
    """

    vertices: Array
    faces: Array
    jaw: Array
    pivot: Array
    eyes: Array
    ball_vertices: Array
    ball_faces: Array
    ball_sides: Array


@dataclass(frozen=True)
class Registration:
    """The embedded head laid onto another.

    Attributes:
        scale, rotation, translation: from head space to the other's space, x → scale · rotation x + translation.
        shape: (V, 3) the embedded head's vertices laid onto the other head at rest, the other's space.
        opened: (V, 3) the same with the jaw open, and other_opened: the other's skin so.
        error_m: (V,) how far the laid vertices are from the other's skin.
    """

    scale: float
    rotation: Array
    translation: Array
    shape: Array
    opened: Array
    other_opened: Array
    error_m: Array


def register(head: HeadModel, skin: Skin) -> Registration:
    """Lay the embedded head onto another.

    Args:
        head: the embedded head.
        skin: the other's.
    Source:
        Iterative closest points (Besl and McKay 1992; Amberg, Romdhani and Vetter 2007 for the non-rigid part).
    """
    faces = head.faces.numpy()
    hidden = np.any([head.regions[name].numpy() for name in HIDDEN], 0)
    outer = np.flatnonzero(~hidden & np.isin(np.arange(head.vertex_count), faces))
    opened = skin.vertices + _turned(skin.vertices, skin.pivot, skin.jaw)
    surface = Surface(opened, skin.faces)
    flat = normals(opened, skin.faces)
    parts = _Parts(head)
    shape, (scale, rotation, translation) = np.zeros(_MODES), _first_similarity(head, skin)
    few = outer[::_EVERY]
    lines: _Lines | None = None
    skin_faces = faces[~hidden[faces].any(1)]
    for step in range(_ROUNDS):
        points, modes, eyes, eye_modes = parts.at(shape)
        placed = scale * points @ rotation.T + translation
        if step == _LINES_AT:
            lines = _lines(head, points, eyes, skin, opened, _between_lips(head, placed))
        spots = surface.nearest(placed[few], normals(placed, skin_faces)[few])
        goal = spots.of(opened, skin.faces)
        facing = spots.of(flat, skin.faces)
        facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-9)
        trusted = spots.agrees & (spots.distance < max(0.03 * 0.8**step, 0.01))
        # along the other's normals only: the skin may slide
        along = ((goal - placed[few]) * facing).sum(1)
        goal = placed[few] + along[:, None] * facing
        weight = trusted / (1 + (spots.distance / 0.004) ** 2)
        scale, rotation, translation = _similarity(
            np.concatenate([points[few], eyes]), np.concatenate([goal, skin.eyes]),
            np.concatenate([weight, np.full(2, 0.1 * weight.sum())]),
        )  # fmt: skip
        if step < 3:
            continue
        directions = facing @ rotation * scale
        rest = ((goal - scale * points[few] @ rotation.T - translation) * facing).sum(1)
        rows = np.einsum("snc,nc->ns", modes[:, few], directions)
        pull = 0.1 * weight.sum()
        eye_rows = (scale * eye_modes @ rotation.T).reshape(len(modes), -1).T
        eye_rest = (skin.eyes - scale * eyes @ rotation.T - translation).ravel()
        matrix = rows.T @ (rows * weight[:, None]) + pull * eye_rows.T @ eye_rows
        right = rows.T @ (weight * rest) + pull * eye_rows.T @ eye_rest
        if lines is not None:
            line_rows = (scale * lines.own.of(modes) @ rotation.T).reshape(len(modes), -1).T
            line_rest = (lines.goal - scale * lines.own.of(points) @ rotation.T - translation).ravel()
            pull = weight.sum() / len(lines.goal)
            matrix += pull * line_rows.T @ line_rows
            right += pull * line_rows.T @ line_rest
        matrix += weight.sum() * _PRIOR * np.eye(len(matrix))
        shape += np.linalg.solve(matrix, right - weight.sum() * _PRIOR * shape)
    start = scale * parts.rest(shape) @ rotation.T + translation
    placed = scale * parts.at(shape)[0] @ rotation.T + translation
    laid, error = _follow(placed, faces, outer, skin_faces, surface, opened, skin.faces, lines)
    # closed again by each vertex's own turn
    turn = np.eye(3) + head.weights.numpy()[:, 1, None, None] * (_rotation() - np.eye(3))
    shift = (laid - placed) @ rotation
    closed = start + np.einsum("vji,vj->vi", np.linalg.inv(turn).swapaxes(1, 2), shift) @ rotation.T
    return Registration(scale, rotation, translation, closed, laid, opened, error)


@dataclass(frozen=True)
class _Lines:
    """The rims of eyes and mouth on the embedded head, and (N, 3) where they are to be."""

    own: Rims
    goal: Array

    def rows(self, count: int) -> csr_matrix:
        """(N, V)."""
        index = np.repeat(np.arange(len(self.goal)), 3)
        return coo_matrix((self.own.bary.ravel(), (index, self.own.corners.ravel())), (len(self.goal), count)).tocsr()


def _lines(head: HeadModel, points: Array, eyes: Array, skin: Skin, opened: Array, mouth: Array) -> _Lines | None:
    """Find the rims on both heads, lips parted; None where either keeps its eyes or lips shut."""
    faces = head.faces.numpy()
    lashes = head.regions["lashes"].numpy()
    balls = np.stack([head.regions[name].numpy() for name in ("eye_left", "eye_right")], 1)
    own = rims(points, faces[~lashes[faces].any(1)], balls, eyes, _between_lips(head, points))
    other_faces = np.concatenate([skin.faces, skin.ball_faces + len(opened)])
    vertices = np.concatenate([opened, skin.ball_vertices])
    balls = np.zeros((len(vertices), 2), bool)
    balls[len(opened) + np.arange(len(skin.ball_sides)), skin.ball_sides] = True
    other = rims(vertices, other_faces, balls, skin.eyes, mouth)
    return None if own is None or other is None else _Lines(own, other.of(vertices))


def _between_lips(head: HeadModel, points: Array) -> Array:
    """(3,) the middle between the inner lips."""
    corners = head.faces[head.landmark_faces[[13, 14]]].numpy()
    return np.asarray((points[corners] * head.landmark_bary[[13, 14]].numpy()[..., None]).sum(1).mean(0))


class _Parts:
    """The embedded head with its jaw open, as a function of its identity."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        turn = np.eye(3) + head.weights.numpy()[:, 1, None, None] * (_rotation() - np.eye(3))
        self.modes = np.einsum("vij,svj->svi", turn, head.identity_basis.numpy()[:_MODES].astype(np.float64))
        self.eye_modes = head.joint_basis.numpy()[:_MODES, 2:].astype(np.float64)

    def rest(self, shape: Array) -> Array:
        modes = self.head.identity_basis.numpy()[:_MODES]
        return self.head.template.numpy().astype(np.float64) + np.tensordot(shape, modes, 1)

    def at(self, shape: Array) -> tuple[Array, Array, Array, Array]:
        """Opened vertices, their modes, eye centers and their modes."""
        points = self.rest(shape)
        joints = self.head.joint_template.numpy() + np.tensordot(shape, self.head.joint_basis.numpy()[:_MODES], 1)
        points = points + _turned(points, joints[1], self.head.weights.numpy()[:, 1])
        return points, self.modes, joints[2:], self.eye_modes


def _rotation() -> Array:
    return axis_angle_to_matrix_np(np.array([_OPEN_RAD, 0, 0]))


def _turned(points: Array, pivot: Array, follows: Array) -> Array:
    """What opening the jaw adds to points."""
    return follows[:, None] * ((points - pivot) @ (_rotation() - np.eye(3)).T)


def _first_similarity(head: HeadModel, skin: Skin) -> tuple[float, Array, Array]:
    own = head.joint_template.numpy()[2:].astype(np.float64)
    scale = float(np.linalg.norm(skin.eyes[0] - skin.eyes[1]) / np.linalg.norm(own[0] - own[1]))
    return scale, np.eye(3), skin.eyes.mean(0) - scale * own.mean(0)


def _similarity(source: Array, target: Array, weight: Array) -> tuple[float, Array, Array]:
    """The scaled rigid motion that brings source onto target best (Umeyama 1991)."""
    share = (weight / weight.sum())[:, None]
    a, b = (share * source).sum(0), (share * target).sum(0)
    u, values, vt = np.linalg.svd((target - b).T @ (share * (source - a)))
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((values * sign).sum() / (share * (source - a) ** 2).sum())
    return scale, rotation, b - scale * rotation @ a


def laplacian(faces: Array, count: int) -> csr_matrix:
    """(count, count) each vertex less the mean of its neighbors; 0 for vertices without a face."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    links = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count)).tocsr()
    degree = np.asarray(links.sum(1)).ravel()
    return (diags((degree > 0).astype(float)) - diags(1 / np.maximum(degree, 1)) @ links).tocsr()


def _follow(
    placed: Array,
    faces: Array,
    outer: Array,
    skin_faces: Array,
    surface: Surface,
    opened: Array,
    other_faces: Array,
    lines: _Lines | None,
) -> tuple[Array, Array]:
    """Let the skin follow the other's, ever less stiffly; what is hidden is carried along."""
    count = len(placed)
    smooth = laplacian(faces, count)
    stiff = (smooth.T @ smooth).tocsc()
    laid = placed.copy()
    flat = normals(opened, other_faces)
    for step, stiffness in enumerate(_STIFFNESS):
        spots = surface.nearest(laid[outer], normals(laid, skin_faces)[outer])
        goal = spots.of(opened, other_faces)
        facing = spots.of(flat, other_faces)
        facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-9)
        goal = laid[outer] + ((goal - laid[outer]) * facing).sum(1, keepdims=True) * facing
        reach = _REACH_M[min(step // 3, len(_REACH_M) - 1)]
        weight = np.zeros(count)
        weight[outer] = spots.agrees & (spots.distance < reach)
        wanted = placed.copy()
        wanted[outer] = goal
        matrix = diags(weight) + stiffness * stiff + 1e-4 * identity(count)
        right = weight[:, None] * (wanted - placed)
        if lines is not None:
            rows = lines.rows(count)
            matrix = matrix + _LINE_PULL * rows.T @ rows
            right = right + _LINE_PULL * (rows.T @ (lines.goal - rows @ placed))
        laid = placed + splu(matrix.tocsc()).solve(right)
    spots = surface.nearest(laid)
    return laid, spots.distance
