"""Lays the embedded head onto another neutral head, so that each knows where it lies on the other.

Both heads open their jaw first: with parted lips the nearest spot of an upper lip is an upper lip. Then a similarity
and identity modes bring the embedded head close, and at last its skin follows the other one's, as smoothly as it can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags, identity
from scipy.sparse.linalg import splu

from headavatar.head.model import HeadModel
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.head.surface import Surface, normals
from headavatar.scene import Array

_OPEN_RAD = 0.2
_MODES = 50
_ROUNDS = 15
_PRIOR = 1e-7
"""Weight of an identity coefficient's square against square metres per point."""
_STIFFNESS = (30.0, 30.0, 10.0, 10.0, 3.0, 3.0, 1.0, 1.0, 0.3, 0.3)
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
    """

    vertices: Array
    faces: Array
    jaw: Array
    pivot: Array
    eyes: Array


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
    skin_faces = faces[~hidden[faces].any(1)]
    for step in range(_ROUNDS):
        points, modes, eyes, eye_modes = parts.at(shape)
        placed = scale * points @ rotation.T + translation
        spots = surface.nearest(placed[outer], normals(placed, skin_faces)[outer])
        goal = spots.of(opened, skin.faces)
        facing = spots.of(flat, skin.faces)
        facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-9)
        trusted = spots.agrees & (spots.distance < max(0.03 * 0.8**step, 0.01))
        # along the other's normals only: the skin may slide
        along = ((goal - placed[outer]) * facing).sum(1)
        goal = placed[outer] + along[:, None] * facing
        weight = trusted / (1 + (spots.distance / 0.004) ** 2)
        scale, rotation, translation = _similarity(
            np.concatenate([points[outer], eyes]), np.concatenate([goal, skin.eyes]),
            np.concatenate([weight, np.full(2, 0.1 * weight.sum())]),
        )  # fmt: skip
        if step < 3:
            continue
        directions = facing @ rotation * scale
        rest = ((goal - scale * points[outer] @ rotation.T - translation) * facing).sum(1)
        rows = np.einsum("snc,nc->ns", modes[:, outer], directions)
        pull = 0.1 * weight.sum()
        eye_rows = (scale * eye_modes @ rotation.T).reshape(len(modes), -1).T
        eye_rest = (skin.eyes - scale * eyes @ rotation.T - translation).ravel()
        matrix = rows.T @ (rows * weight[:, None]) + pull * eye_rows.T @ eye_rows
        right = rows.T @ (weight * rest) + pull * eye_rows.T @ eye_rest
        matrix += weight.sum() * _PRIOR * np.eye(len(matrix))
        shape += np.linalg.solve(matrix, right - weight.sum() * _PRIOR * shape)
    start = scale * parts.rest(shape) @ rotation.T + translation
    placed = scale * parts.at(shape)[0] @ rotation.T + translation
    laid, error = _follow(placed, faces, outer, skin_faces, surface, opened, skin.faces)
    # closed again by each vertex's own turn
    turn = np.eye(3) + head.weights.numpy()[:, 1, None, None] * (_rotation() - np.eye(3))
    shift = (laid - placed) @ rotation
    closed = start + np.einsum("vji,vj->vi", np.linalg.inv(turn).swapaxes(1, 2), shift) @ rotation.T
    return Registration(scale, rotation, translation, closed, laid, opened, error)


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
    placed: Array, faces: Array, outer: Array, skin_faces: Array, surface: Surface, opened: Array, other_faces: Array
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
        laid = placed + splu(matrix.tocsc()).solve(weight[:, None] * (wanted - placed))
    spots = surface.nearest(laid)
    return laid, spots.distance
