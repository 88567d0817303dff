"""Carries the embedded head's 52 expressions over to another head, and says them in that head's own terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, identity
from scipy.sparse.linalg import splu

from headavatar.head import landmarks
from headavatar.head.model import HeadModel
from headavatar.head.native import NativeHead
from headavatar.head.registration import Registration
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.scene import ARKIT_NAMES, Array

_ANCHOR = 0.02
"""Pull of a vertex towards the embedded head's own displacement, against cotangent weights of about 1."""
_LIDS = 5.0
"""Pull of facing points of the lids towards the share of their distance that the embedded head leaves them."""
_PRIOR_M = 5e-5
"""An own coefficient of one standard deviation costs as much as this distance all over the head."""
_JAW_STEPS = 6
_MOVES_M = 5e-4
"""Vertices that a shape moves by less than this do not count in its residual."""
BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")


@dataclass(frozen=True)
class Expressed:
    """ARKit's 52 expressions in a head's own terms.

    Attributes:
        coefficients: (52, K) of the head's own expressions.
        jaw: (52, 3) rotation of its jaw, axis-angle, radians.
        residual_mm: (52,) root mean square of what that leaves unsaid, over the vertices that the expression moves.
        moved_mm: (52,) root mean square of the motion of these.
        basis: (52, V, 3) displacements at coefficient 1, without the jaw's turn. The blinks have all of the lids'
            motion, whether the head's own expressions can say it or not: eyes that do not close are of no use.
    """

    coefficients: Array
    jaw: Array
    residual_mm: Array
    moved_mm: Array
    basis: Array


def carry(head: HeadModel, laid: Registration) -> Array:
    """The embedded head's expressions on the head that it was laid onto.

    Each triangle keeps the deformation that it undergoes on the embedded head; facing points of the lids keep the share
    of their distance, so that eyes of any size close.

    Args:
        head: the embedded head.
        laid: where it lies.
    Returns:
        (52, V, 3) displacements of the embedded head's vertices, metres, the other head's space.
    Source:
        Sumner and Popović, Deformation transfer for triangle meshes (2004), with the laid head's own topology.
    """
    faces = head.faces.numpy()
    rest = head.template.numpy().astype(np.float64)
    shapes = head.expression_basis.numpy().astype(np.float64)
    inverse = np.linalg.inv(_frames(rest, faces))
    weights = _cotangents(laid.shape, faces)
    count = len(rest)
    matrix = _stiffness(faces, weights, count)
    pairs = _lid_rows(head)
    matrix = matrix + _LIDS * pairs.T @ pairs + _ANCHOR * identity(count)
    solver = splu(matrix.tocsc())
    gap, gap_laid = pairs @ rest, pairs @ laid.shape
    size = (gap**2).sum(1)
    result = np.empty_like(shapes)
    for k, shape in enumerate(shapes):
        gradient = laid.rotation @ (_frames(rest + shape, faces) @ inverse) @ laid.rotation.T
        ratio = np.clip(((gap + pairs @ shape) * gap).sum(1) / size, 0, None)
        right = _divergence(laid.shape, faces, weights, gradient - np.eye(3))
        right += _LIDS * (pairs.T @ ((ratio - 1)[:, None] * gap_laid))
        right += _ANCHOR * laid.scale * shape @ laid.rotation.T
        result[k] = solver.solve(right)
    return result


def express(native: NativeHead, wanted: Array, weight: Array) -> Expressed:
    """Say expressions in a head's own terms, by regularized least squares.

    Args:
        native: the head.
        wanted: (52, V, 3) displacements, metres.
        weight: (V,) how much each vertex counts.
    """
    count, vertices = len(wanted), len(native.template)
    root = np.sqrt(weight / weight.sum())[:, None]
    own = (native.expression_basis * root).reshape(len(native.expression_basis), -1)
    gram = own @ own.T + _PRIOR_M**2 * np.eye(len(own))
    coefficients = np.linalg.solve(gram, own @ (wanted * root).reshape(count, -1).T).T
    jaw = np.zeros((count, 3))
    turned = np.zeros((count, vertices, 3))
    for k, name in enumerate(ARKIT_NAMES):
        if name.startswith("jaw"):
            coefficients[k], jaw[k] = _with_jaw(native, wanted[k], root, own, gram)
            turned[k] = jaw_displacement(native, jaw[k])
    said = np.tensordot(coefficients, native.expression_basis, 1)
    left = wanted - said - turned
    moves = np.linalg.norm(wanted, axis=2) > _MOVES_M
    share = moves * weight
    share /= np.maximum(share.sum(1, keepdims=True), 1e-12)
    residual = np.sqrt((share * (left**2).sum(2)).sum(1)) * 1000
    moved = np.sqrt((share * (wanted**2).sum(2)).sum(1)) * 1000
    basis = said + np.stack([_corrective(native, angle) for angle in jaw])
    for name in BLINKS:
        basis[ARKIT_NAMES.index(name)] = wanted[ARKIT_NAMES.index(name)]
    return Expressed(coefficients, jaw, residual, moved, basis)


def jaw_displacement(native: NativeHead, angle: Array) -> Array:
    """(V, 3) what turning the jaw by an axis-angle (3,) adds to the head at rest, correctives included."""
    turn = axis_angle_to_matrix_np(angle) - np.eye(3)
    added = _corrective(native, angle)
    arms = native.template + added - native.joints[1]
    return np.asarray(added + native.weights[:, 1:2] * (arms @ turn.T))


def _corrective(native: NativeHead, angle: Array) -> Array:
    return np.tensordot((axis_angle_to_matrix_np(angle) - np.eye(3)).ravel(), native.jaw_basis, 1)


def _with_jaw(native: NativeHead, wanted: Array, root: Array, own: Array, gram: Array) -> tuple[Array, Array]:
    """Own coefficients (K,) and jaw rotation (3,) that come nearest to (V, 3), Gauss-Newton on the rotation."""
    angle = np.zeros(3)
    for _ in range(_JAW_STEPS):
        now = jaw_displacement(native, angle)
        slopes = [(jaw_displacement(native, angle + step) - now) / 1e-4 for step in 1e-4 * np.eye(3)]
        columns = np.concatenate([own, np.stack([(slope * root).ravel() for slope in slopes])])
        matrix = columns @ columns.T
        matrix[: len(own), : len(own)] = gram
        matrix[len(own) :, len(own) :] += 1e-8 * np.eye(3)
        solved = np.linalg.solve(matrix, columns @ ((wanted - now) * root).ravel())
        angle = angle + solved[len(own) :]
    rest = ((wanted - jaw_displacement(native, angle)) * root).ravel()
    return np.linalg.solve(gram, own @ rest), angle


def _frames(vertices: Array, faces: Array) -> Array:
    """(F, 3, 3) two edges of each triangle and its normal, as columns; thin ones are kept invertible."""
    a, b = vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]
    normal = np.cross(a, b)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    # the scale of an edge, so that the normal's length follows the triangle's size
    return np.stack([a, b, normal / np.sqrt(np.maximum(length, 1e-10))], 2)


def _cotangents(vertices: Array, faces: Array) -> Array:
    """(F, 3) cotangent of the angle opposite to each of the edges 01, 12 and 20, kept between 0.1 and 5."""
    result = []
    for k in range(3):
        corner = vertices[faces[:, (k + 2) % 3]]
        a, b = vertices[faces[:, k]] - corner, vertices[faces[:, (k + 1) % 3]] - corner
        result.append((a * b).sum(1) / np.maximum(np.linalg.norm(np.cross(a, b), axis=1), 1e-12))
    return np.clip(np.stack(result, 1), 0.1, 5)


def _stiffness(faces: Array, weights: Array, count: int) -> csr_matrix:
    total = csr_matrix((count, count))
    for k in range(3):
        i, j, w = faces[:, k], faces[:, (k + 1) % 3], weights[:, k]
        rows, columns = np.concatenate([i, j, i, j]), np.concatenate([i, j, j, i])
        total = total + coo_matrix((np.concatenate([w, w, -w, -w]), (rows, columns)), (count, count)).tocsr()
    return total


def _divergence(vertices: Array, faces: Array, weights: Array, change: Array) -> Array:
    """(V, 3) right side of the least squares in which edges want to become (1 + change) of themselves."""
    right = np.zeros_like(vertices)
    for k in range(3):
        i, j = faces[:, k], faces[:, (k + 1) % 3]
        edge = weights[:, k, None] * np.einsum("fij,fj->fi", change, vertices[j] - vertices[i])
        np.add.at(right, j, edge)
        np.add.at(right, i, -edge)
    return right


def _lid_rows(head: HeadModel) -> csr_matrix:
    """(P, V) upper less lower lid at facing points of the lids' margins."""
    faces, bary = head.faces.numpy()[head.landmark_faces.numpy()], head.landmark_bary.numpy()
    rows, columns, values, pair = [], [], [], 0
    for eye in (landmarks.EYE_RIGHT, landmarks.EYE_LEFT):
        for i in range(1, 8):
            for index, sign in ((eye[16 - i], 1.0), (eye[i], -1.0)):
                rows += [pair] * 3
                columns += faces[index].tolist()
                values += (sign * bary[index]).tolist()
            pair += 1
    return coo_matrix((values, (rows, columns)), (pair, head.vertex_count)).tocsr()
