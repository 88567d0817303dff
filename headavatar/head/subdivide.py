"""A head with four faces for each of its skin's, by one linear operator on the template and on every basis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags, vstack
from scipy.spatial import cKDTree

from headavatar.head.model import HeadModel
from headavatar.head.store import HeadData, triangulate
from headavatar.head.surface import closest_weights
from headavatar.scene import Array

KEPT = ("eyes", "teeth", "tongue", "lashes")
"""Regions whose faces are not split."""


def subdivided(head: HeadModel) -> HeadModel:
    """Split the faces of a head's skin once.

    A quad becomes four quads by the rules of Catmull and Clark; a triangle becomes four triangles by those of Loop,
    because three quads each would give a head of triangles half as many vertices again for the same detail. The
    skin's border becomes a cubic B-spline, and what a kept part shares with the skin stays where it is. Eyeballs,
    teeth, tongue and lashes keep their faces.

    Args:
        head: V vertices.
    Returns:
        The same head with the V vertices in their order, then a vertex for each of the skin's edges, then one for each
        of its quads; bases, skinning weights, regions, texture coordinates, landmarks and mirror images carried over,
        joints as they were.
    Source: Catmull and Clark 1978; Loop 1987 with Warren's weights; borders as in Hoppe et al. 1994. Grassal et al.
        2022, section 3.1, subdivide FLAME once.
    """
    regions = {name: mask.cpu().numpy() for name, mask in head.regions.items()}
    inner = np.any([np.zeros(head.vertex_count, bool), *(regions[name] for name in KEPT if name in regions)], 0)
    quads, old_uvs, template = head.quads.cpu().numpy(), head.uvs.cpu().numpy(), head.template.cpu().numpy()
    split = ~inner[quads].all(1)
    mesh, flat = _Mesh.of(quads, split), _Mesh.of(head.uv_quads.cpu().numpy(), split)
    smooth, mean = mesh.smooth(head.vertex_count), mesh.means(head.vertex_count)
    points = smooth @ template
    children, parents = mesh.children(head.vertex_count)
    chosen, bary = _landmarks(head, points, children, parents)
    # kept parts a meter away from the skin, so that none is the mirror image of the other
    halves = mean @ np.column_stack([template - [head.joint_template[2:, 0].mean().item(), 0, 0], inner])
    turns = head.jaw_turn(torch.eye(len(head.expression_names), device=head.template.device))
    data = HeadData(
        name=head.name, template=points, identity_basis=_each(smooth, head.identity_basis.cpu().numpy()),
        expression_basis=_each(smooth, head.expression_basis.cpu().numpy()), expression_names=head.expression_names,
        quads=children, uvs=flat.means(len(old_uvs)) @ old_uvs, uv_quads=flat.children(len(old_uvs))[0],
        weights=mean @ head.weights.cpu().numpy(), joints=head.joint_template.cpu().numpy(),
        joint_basis=head.joint_basis.cpu().numpy(),
        # the middle of an edge between two regions belongs to both, so that no vertex is without
        regions={name: mean @ mask.astype(np.float32) > 0.499 for name, mask in regions.items()},
        landmark_faces=chosen, landmark_bary=bary,
        mirror=_mirror(mesh, head.mirror.cpu().numpy(), halves, halves * [-1, 1, 1, 1]),
        jaw_turns=np.zeros((len(head.expression_names), 3), np.float32) if turns is None else turns.cpu().numpy(),
    )  # fmt: skip
    return HeadModel(data).to(head.template.device)


@dataclass(frozen=True)
class _Mesh:
    """Faces of which some are split.

    Attributes:
        quads: (Q, 4); a triangle repeats its last corner.
        split: (Q,) bool.
        is_quad: (Q,) bool.
        sides: (H, 2) directed edges of the split faces.
        side_face, side_edge: (H,) whose they are: faces, and rows of `edges`.
        edges: (E, 2) the split faces' edges, lower vertex first.
        at: (Q, 4) rows of `edges`: from each corner to the next; -1 in faces that are not split.
    """

    quads: Array
    split: Array
    is_quad: Array
    sides: Array
    side_face: Array
    side_edge: Array
    edges: Array
    at: Array

    @classmethod
    def of(cls, quads: Array, split: Array) -> _Mesh:
        ends = np.stack([quads, np.roll(quads, -1, 1)], -1)
        is_quad = quads[:, 2] != quads[:, 3]
        real = split[:, None] & np.stack([np.ones_like(split), np.ones_like(split), is_quad, np.ones_like(split)], 1)
        face, _ = np.nonzero(real)
        edges, which = np.unique(np.sort(ends[real], axis=1), axis=0, return_inverse=True)
        at = np.full(quads.shape, -1)
        at[real] = which.reshape(-1)
        return cls(quads, split, is_quad, ends[real], face, at[real], edges, at)

    def means(self, count: int) -> csr_matrix:
        """(N, count): vertices as they are, then the middles of edges and of quads."""
        middles = _matrix([(self.edges[:, k], 0.5) for k in range(2)], count)
        quads = self.quads[self.split & self.is_quad]
        centers = _matrix([(column, 0.25) for column in quads.T], count)
        return vstack([diags(np.ones(count)), middles, centers]).tocsr().astype(np.float32)

    def smooth(self, count: int) -> csr_matrix:
        """(N, count): the rules of Catmull and Clark, of Loop around vertices and edges of triangles alone."""
        uses = np.bincount(self.side_edge, minlength=len(self.edges))
        shared = np.zeros(count, bool)
        shared[self.quads[~self.split]] = True
        middles = _matrix([(self.edges[:, k], 0.5) for k in range(2)], count)
        corners = [(self.quads[:, k], np.where(self.is_quad, 0.25, 1 / 3)) for k in range(3)]
        centers = _matrix([*corners, (self.quads[:, 3], np.where(self.is_quad, 0.25, 0.0))], count)

        # An edge inside is the mean of what its two faces say: for a quad a half of the edge's middle and a half of the
        # face's, for a triangle a quarter and three quarters, which is three eighths of each end.
        own = self.is_quad[self.side_face]
        said = diags(np.where(own, 0.5, 0.25)) @ middles[self.side_edge]
        said = said + diags(np.where(own, 0.5, 0.75)) @ centers[self.side_face]
        inside = (uses == 2) & ~(shared[self.edges].all(1))
        pick = _placed(self.side_edge, np.arange(len(self.side_edge)), 0.5, (len(self.edges), len(self.side_edge)))
        edge_rule = diags(inside.astype(float)) @ (pick @ said) + diags((~inside).astype(float)) @ middles

        place, touching = self.edges.reshape(-1), np.repeat(np.arange(len(self.edges)), 2)
        around = _placed(place, touching, 1.0, (count, len(self.edges)))
        valence = np.asarray(around.sum(1)).reshape(-1)
        corner = np.stack([self.sides[:, 0], self.side_face], 1)
        at_faces = _placed(corner[:, 0], corner[:, 1], 1.0, (count, len(self.quads)))
        has_quad = at_faces @ self.is_quad.astype(float) > 0
        open_ends = around @ (uses != 2).astype(float)
        free = (open_ends == 0) & ~shared & (valence > 2)
        border = (open_ends == 2) & ~shared
        each = np.maximum(valence, 1)
        catmull = free & has_quad
        loop = free & ~has_quad
        # Catmull and Clark: (mean of faces + 2 means of edges' middles + (n - 3) vertex) / n
        by_faces = diags(catmull / each**2) @ at_faces @ centers
        by_edges = diags(np.where(catmull, 2 / each**2, 0)) @ around @ middles
        # Loop: n beta to the neighbors; an edge's middle is half a neighbor and half the vertex
        beta = np.where(each == 3, 3 / 16, 3 / (8 * each))
        by_edges = by_edges + diags(np.where(loop, 2 * beta, 0)) @ around @ middles
        # a border: a quarter to each border edge's middle
        by_edges = by_edges + diags(border * 0.25) @ around @ diags((uses != 2).astype(float)) @ middles
        stays = np.where(catmull, (each - 3) / each, np.where(loop, 1 - 2 * beta * each, np.where(border, 0.5, 1.0)))
        vertex_rule = diags(stays) + by_faces + by_edges
        return vstack([vertex_rule, edge_rule, centers[self.split & self.is_quad]]).tocsr().astype(np.float32)

    def children(self, count: int) -> tuple[Array, Array]:
        """Faces (R, 4) in the order of their parents (R,)."""
        middle = np.full(len(self.quads), -1)
        whole = self.split & self.is_quad
        middle[whole] = count + len(self.edges) + np.arange(whole.sum())
        parts, parents = [self.quads[~self.split]], [np.flatnonzero(~self.split)]
        for k in range(4):
            before, after = self.at[:, k - 1] + count, self.at[:, k] + count
            parts.append(np.stack([self.quads[:, k], after, middle, before], 1)[whole])
            parents.append(np.flatnonzero(whole))
        three = self.split & ~self.is_quad
        middles = self.at[three][:, [0, 1, 3]] + count
        for k in range(3):
            corner = self.quads[three, k]
            parts.append(np.stack([corner, middles[:, k], middles[:, k - 1], middles[:, k - 1]], 1))
            parents.append(np.flatnonzero(three))
        parts.append(middles[:, [0, 1, 2, 2]])
        parents.append(np.flatnonzero(three))
        parent = np.concatenate(parents)
        order = np.argsort(parent, kind="stable")
        return np.concatenate(parts)[order], parent[order]


def _matrix(parts: list[tuple[Array, float | Array]], count: int) -> csr_matrix:
    """Rows that add up vertices, each part one for every row, times its value."""
    rows = np.arange(len(parts[0][0]))
    shape = (len(rows), count)
    return sum((_placed(rows, columns, value, shape) for columns, value in parts), csr_matrix(shape))


def _placed(rows: Array, columns: Array, value: float | Array, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.broadcast_to(np.asarray(value, np.float64), rows.shape), (rows, columns)), shape)


def _each(operator: csr_matrix, basis: Array) -> Array:
    """The operator on each mode of a basis (B, V, 3)."""
    modes = len(basis)
    columns = np.ascontiguousarray(basis.swapaxes(0, 1)).reshape(operator.shape[1], modes * 3)
    return np.ascontiguousarray((operator @ columns).reshape(-1, modes, 3).swapaxes(0, 1))


def _landmarks(head: HeadModel, points: Array, children: Array, parents: Array) -> tuple[Array, Array]:
    """Triangles (478,) and weights (478, 3): the nearest spot on the children of the face that each landmark was on."""
    wanted = head.landmark_points(head.template[None])[0].cpu().numpy().astype(np.float64)
    old, new = head.quads.cpu().numpy(), triangulate(children)
    old_parent = np.repeat(np.arange(len(old)), 1 + (old[:, 2] != old[:, 3]))[head.landmark_faces.cpu().numpy()]
    new_parent = np.repeat(parents, 1 + (children[:, 2] != children[:, 3]))
    first, last = (np.searchsorted(new_parent, old_parent, side) for side in ("left", "right"))
    most = int((last - first).max())
    # where a face has fewer children, the last is asked again
    options = np.minimum(first[:, None] + np.arange(most), last[:, None] - 1)
    triangles = points[new[options]].astype(np.float64)
    weights = closest_weights(wanted[:, None], triangles)
    away = np.linalg.norm(np.einsum("nok,nokc->noc", weights, triangles) - wanted[:, None], axis=-1)
    rows, best = np.arange(len(wanted)), away.argmin(1)
    return options[rows, best], weights[rows, best].astype(np.float32)


def _mirror(mesh: _Mesh, old: Array, points: Array, flipped: Array) -> Array:
    """(N,) each vertex's mirror image; where the faces of the two sides differ, the pairs of the nearest.

    Args:
        old: (V,) images of the vertices that are not new.
        points: (N, C) where the vertices are. flipped: (N, C) where their mirror images would be.
    """
    images = [old]
    start = len(old)
    for cells in (mesh.edges, np.sort(mesh.quads[mesh.split & mesh.is_quad], axis=1)):
        place = {tuple(cell): start + i for i, cell in enumerate(cells.tolist())}
        images.append(np.array([place.get(tuple(cell), -1) for cell in np.sort(old[cells], axis=1).tolist()], int))
        start += len(cells)
    image = np.concatenate(images)
    image[image[image] != np.arange(len(image))] = -1
    while (left := np.flatnonzero(image < 0)).size:
        near = cKDTree(points[left]).query(flipped[left])[1]
        mutual = near[near] == np.arange(len(left))
        if not mutual.any():  # a circle of equally near ones
            near[0], mutual[0] = 0, True
        image[left[mutual]] = left[near[mutual]]
    return image
