"""A texture layout for a head that brings none: the skin cut open along the back, and a disc for each eyeball."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

from headavatar.head.build.flatten import boundary_loops, flatten
from headavatar.scene import Array

_SKIN_BOX = (0.0, 0.0, 0.84, 1.0)
_EYE_BOXES = ((0.84, 0.84, 0.16, 0.16), (0.84, 0.68, 0.16, 0.16))
_MARGIN = 0.003
_DENSITY = {"scalp": 0.35, "neck": 0.35, "ears": 0.5, "face": 1.0, "eyelids": 1.5, "lips": 1.5}
_HIDDEN_DENSITY = 0.2


def layout(template: Array, faces: Array, regions: dict[str, Array]) -> tuple[Array, Array]:
    """Lay a head out.

    Args:
        template: (V, 3), +y up, +z out of the face.
        faces: (F, 3); the skin is one piece with a border at the neck, eyeballs are closed.
        regions: name → (V,) bool.
    Returns:
        uvs (U, 2) in [0, 1], v up, and uv_faces (F, 3) into them.
    """
    eyes = np.stack([regions["eye_left"], regions["eye_right"]])
    of_eye = np.asarray(eyes[:, faces].all(2))
    skin = np.flatnonzero(~of_eye.any(0))
    corners = np.zeros((len(faces), 3, 2))
    try:
        flat = _skin(template, faces[skin], regions)
    except (KeyError, ValueError, IndexError, RuntimeError):
        flat = _around(template, faces[skin])  # a skin of several pieces, or one that touches itself
    corners[skin] = _boxed(flat, _SKIN_BOX)
    for own, box in zip(of_eye, _EYE_BOXES, strict=True):
        corners[own] = _boxed(_ball(template, faces[own]), box)
    keys = np.concatenate([faces.reshape(-1, 1), np.round(corners.reshape(-1, 2) * 1e6)], 1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return corners.reshape(-1, 2)[first], inverse.reshape(faces.shape)


def _skin(template: Array, faces: Array, regions: dict[str, Array]) -> Array:
    """(F, 3, 2) the skin laid flat, each part about as large as it deserves."""
    rim = max(boundary_loops(faces), key=lambda loop: float(np.ptp(template[loop], axis=0).sum()))
    used = np.unique(faces)
    crown = int(used[template[used, 1].argmax()])
    start = min(rim, key=lambda vertex: float(template[vertex, 2]))
    path = _shortest(template, faces, start, crown)
    local, source = _cut(faces, path)
    wanted = np.full(len(template), _HIDDEN_DENSITY)
    for name, value in _DENSITY.items():
        wanted[regions[name]] = value
    points = template[source]
    border = max(boundary_loops(local), key=len)
    front = max((v for v in border if source[v] in set(rim)), key=lambda v: float(points[v, 2]))
    return flatten(points, local, wanted[source][local].mean(1), int(front))[local]


def _around(template: Array, faces: Array) -> Array:
    """(F, 3, 2) the skin on a cylinder about the vertical, opened at the back."""
    used = template[np.unique(faces)]
    arm = template[faces] - (used.min(0) + used.max(0)) / 2
    angle = np.arctan2(arm[..., 0], arm[..., 2])
    # faces over the back's seam stay whole, on the side of their first corner
    angle = np.where(angle - angle[:, :1] > np.pi, angle - 2 * np.pi, angle)
    angle = np.where(angle - angle[:, :1] < -np.pi, angle + 2 * np.pi, angle)
    return np.stack([angle * np.ptp(used[:, 0]) / 2, arm[..., 1]], -1)


def _shortest(template: Array, faces: Array, start: int, end: int) -> list[int]:
    """Vertices of the shortest way along edges that keeps to the back's middle."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    a, b = template[edges[:, 0]], template[edges[:, 1]]
    middle = 0.5 * (a + b)
    front = middle[:, 2] > template[end, 2] + 0.01
    cost = np.linalg.norm(a - b, axis=1) * (1 + np.abs(middle[:, 0] - template[end, 0]) / 0.005 + 100 * front)
    graph = coo_matrix((cost, (edges[:, 0], edges[:, 1])), (len(template), len(template)))
    before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)[1]
    path = [end]
    while path[-1] != start:
        if before[path[-1]] < 0:
            raise ValueError("the neck and the crown are not of one piece")
        path.append(int(before[path[-1]]))
    return path


def _cut(faces: Array, path: list[int]) -> tuple[Array, Array]:
    """Part a mesh along a path of edges: corners stay one vertex as long as an uncut edge joins them.

    Returns:
        faces (F, 3) of the parted mesh, and the vertex (N,) that each of its vertices was.
    """
    cut = {frozenset(pair) for pair in zip(path[:-1], path[1:], strict=True)}
    at_edge: dict[frozenset[int], list[int]] = {}
    for corner, (a, b) in enumerate(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2).tolist()):
        at_edge.setdefault(frozenset((a, b)), []).append(corner)
    joined = []
    for edge, corners in at_edge.items():
        if edge in cut or len(corners) != 2:
            continue
        first, second = corners  # each starts an edge; the other end is the next corner of the same face
        ahead = [c + 1 if c % 3 < 2 else c - 2 for c in (first, second)]
        joined += [(first, ahead[1]), (ahead[0], second)]
    rows, columns = np.array(joined).T
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), (faces.size, faces.size))
    _, label = connected_components(links, directed=False)
    local = label.reshape(faces.shape)
    source = np.zeros(label.max() + 1, int)
    source[label] = faces.reshape(-1)
    return local, source


def _ball(template: Array, faces: Array) -> Array:
    """(F, 3, 2) an eyeball as a disc about its front; what lies behind is squeezed to the rim."""
    own = template[np.unique(faces)]
    arm = template[faces] - (own.min(0) + own.max(0)) / 2
    length = np.linalg.norm(arm[..., :2], axis=-1, keepdims=True)
    polar = np.arctan2(length, arm[..., 2:]) / np.pi
    way = arm[..., :2] / np.maximum(length, 1e-9)
    # the pole at the back has no direction of its own: it goes to the rim beyond each of its triangles
    whole = way.sum(1, keepdims=True)
    whole = whole / np.maximum(np.linalg.norm(whole, axis=-1, keepdims=True), 1e-9)
    way = np.where((length < 1e-6) & (arm[..., 2:] < 0), whole, way)
    return np.asarray(np.sqrt(polar) * way)


def _boxed(flat: Array, box: tuple[float, float, float, float]) -> Array:
    low, high = flat.reshape(-1, 2).min(0), flat.reshape(-1, 2).max(0)
    corner, size = np.array(box[:2]) + _MARGIN, np.array(box[2:]) - 2 * _MARGIN
    return np.asarray(corner + (flat - low) / (high - low) * size)
