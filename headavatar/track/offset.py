"""What identity cannot say of one person: hair's bulk, a beard, a large nose, as a shift of the surface along itself.

Every vertex of the outer surface may move along its normal, so that the outline of the mesh meets that of the head,
hair included. Neighbors move alike, so do mirror images, and what no outline asks for stays where it is.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import spsolve
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.ops import vertex_normals
from headavatar.scene import Array
from headavatar.track.landmark_fit import LandmarkFit, Motion, Person
from headavatar.track.outline import EXACT, FACE, HAIR_END, NECK
from headavatar.track.settings import OffsetWeights, OutlineWeights
from headavatar.track.shape import OutlineTerm, View

_STILL = ("eyes", "eyelids", "sockets", "lips", "ears", "mouth_interior", "teeth", "tongue", "lashes", "neck")
"""Parts that landmarks or identity place, or that no outline shows."""

_MM = 1e-3


def fit_offset(
    head: HeadModel,
    fit: LandmarkFit,
    person: Person,
    motion: Motion,
    view: View,
    weights: OffsetWeights,
) -> Tensor:
    """The shift of each vertex that brings the mesh's outline to the head's in some views.

    Landmarks on the changed mesh are where `person.offset` puts them less `head.landmark_points` of the shift.

    Args:
        head: the head model.
        fit: of the clip's landmarks.
        person: whose identity explains what it can.
        motion: of n keyframes of the training part.
        view: of some of them.
        weights: of the offset.
    Returns:
        (V, 3) head space, metres.
    Source:
        Qian, VHAP (2024): a static offset per vertex under a Laplacian; here along the normal, by outlines.
    """
    # hair is a part of the head here: its edge is where the scalp should be
    asked = OutlineWeights(reach=weights.reach, robust=weights.robust)
    rest = head.vertices(person.identity, torch.zeros(1, len(head.expression_names)))[0]
    normals = vertex_normals(rest, head.faces)
    prior = _prior(head, weights)
    shift = np.zeros(head.vertex_count)
    units = fit.unit_px(motion, person.focal) * view.scale
    for _ in range(weights.iterations):
        term = OutlineTerm(head.with_offset(_along(normals, shift)), view, asked, fit.unit_px)
        rows = [
            _rows(term, person, motion[row : row + 1], i, float(units[row]), normals, weights)
            for i, row in enumerate(view.rows.tolist())
        ]
        matrix = sparse.vstack([jacobian for jacobian, _ in rows])
        residual = np.concatenate([value for _, value in rows])
        system = (matrix.T @ matrix + prior).tocsc()
        shift = shift - spsolve(system, matrix.T @ residual + prior @ shift)
    return _along(normals, shift)


def _along(normals: Tensor, shift_mm: Array) -> Tensor:
    return normals * torch.from_numpy(shift_mm * _MM).to(normals)[:, None]


def _rows(
    term: OutlineTerm, person: Person, motion: Motion, view: int, unit_px: float, normals: Tensor,
    weights: OffsetWeights,
) -> tuple[sparse.csr_matrix, Array]:  # fmt: skip
    """Weighted rows (M, V) per millimetre and residuals (M,) of one view."""
    found, aims, world = term.look(person, motion, view, unit_px)
    parts, off = found.parts[aims.place], np.abs(aims.shift_px) / unit_px
    # skin before hair or neck, or far from the mesh's, may be a neck that parsing took for a face
    sure = (aims.kind == EXACT) & (aims.trust == 1) & (off < weights.face_reach)
    kept = np.where(parts == FACE, sure, parts != NECK)
    place, residual = aims.place[kept], -aims.shift_px[kept] / unit_px
    edges = found.edges[torch.from_numpy(place)]
    slope = term.slope(person, world[edges].mean(1), torch.from_numpy(found.normals[place]).float(), unit_px)
    head_slope = slope @ motion.rotation[0]
    values = 0.5 * _MM * torch.einsum("mj,mkj->mk", head_slope, normals[edges]).numpy()
    trust = np.where(aims.kind[kept] == HAIR_END, 1.0, aims.trust[kept]) * found.length_px[place]
    weight = np.sqrt(trust / term.weights.spacing_px / (1 + (residual / weights.robust) ** 2))
    index = np.repeat(np.arange(len(place)), 2), edges.numpy().reshape(-1)
    matrix = sparse.csr_matrix(((values * weight[:, None]).reshape(-1), index), shape=(len(place), len(normals)))
    return matrix, residual * weight


def _prior(head: HeadModel, weights: OffsetWeights) -> sparse.csr_matrix:
    """(V, V) of the quadratic prior on shifts in millimetres."""
    count = head.vertex_count
    faces = head.faces.numpy()
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ones = np.ones(len(ends))
    near = sparse.csr_matrix((ones, (ends[:, 0], ends[:, 1])), shape=(count, count))
    near = ((near + near.T) > 0).astype(float)
    degree = np.asarray(near.sum(1)).ravel()
    laplacian = sparse.identity(count) - sparse.diags(1 / np.maximum(degree, 1)) @ near
    mirrored = sparse.csr_matrix((np.ones(count), (np.arange(count), head.mirror.numpy())), shape=(count, count))
    difference = sparse.identity(count) - mirrored
    still = torch.zeros(count, dtype=torch.bool)
    for region in _STILL:
        if region in head.regions:
            still |= head.regions[region]
    hold = np.where(still.numpy(), weights.still, weights.magnitude)
    smooth = weights.smooth * laplacian.T @ laplacian
    return (smooth + weights.mirror * difference.T @ difference + sparse.diags(hold)).tocsr()
