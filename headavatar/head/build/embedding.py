"""Place MediaPipe's 478 landmarks on the head.

MediaPipe's canonical face (Apache-2.0; inside face_landmarker.task) is brought onto the mean head by a similarity and a
few identity modes. Lid margins and lips are found on the head itself, by walking in a front view, since the nearest
point could lie on the wrong lip; all other points go to the nearest outer surface.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headavatar.errors import ModelError
from headavatar.head import landmarks
from headavatar.head.build import eyeballs
from headavatar.head.build.frontview import walk_border
from headavatar.scene import Array

_MEMBER = "geometry_pipeline_metadata_landmarks.binarypb"
_NETWORK_PLACES = Path(__file__).parent / "network_places.npz"
_MODES = 60
_ROUNDS = 12
_PRIOR = 2e-7
"""Weight of an identity coefficient's square against square metres: a millimetre counts as two deviations."""


@dataclass(frozen=True)
class Surface:
    """What the embedding needs to know of the head.

    Attributes:
        vertices: (V, 3) mean head at rest. opened: (V, 3) the same with the lips slightly parted.
        faces: (F, 3) triangles.
        modes: (S, V, 3) identity basis.
        mirror: (V,).
        outer: (F,) bool, skin seen from outside, without ears and mouth.
        eyes, lips, inside: (V,) bool: eyeballs; the lips' red; mouth cavity, teeth and tongue.
        ignored: (V,) bool, lashes.
        lips_meet: (K,) vertices on the midline where the lips touch.
        eye_starts: first vertex of the left and the right eyeball.
        eye_centers: (2, 3).
    """

    vertices: Array
    opened: Array
    faces: Array
    modes: Array
    mirror: Array
    outer: Array
    eyes: Array
    lips: Array
    inside: Array
    ignored: Array
    lips_meet: Array
    eye_starts: tuple[int, int]
    eye_centers: Array


def canonical_face(path: Path) -> Array:
    """(468, 3) metres: MediaPipe's canonical face, +x to the subject's left, +y up, +z out of the face.

    Args:
        path: face_landmarker.task.
    """
    try:
        data = zipfile.ZipFile(path).read(_MEMBER)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is no face_landmarker.task", why=str(error)) from error
    mesh = next(value for number, value in _fields(data) if number == 1)
    buffer = [value for number, value in _fields(mesh) if number == 3]
    rows = np.array([struct.unpack("<f", value)[0] for value in buffer]).reshape(-1, 5)
    return rows[:, :3] * 0.01


def embed(canonical: Array, surface: Surface) -> tuple[Array, Array]:
    """Place the landmarks, mirror images of each other on mirrored triangles.

    Args:
        canonical: (468, 3) from `canonical_face`.
        surface: the head.
    Returns:
        faces (478,) and barycentric coordinates (478, 3).
    """
    pairs = _mirror_pairs(canonical)
    contours = _contours(canonical, surface)
    target = _fit(canonical, surface, contours, pairs)
    triangles = np.flatnonzero(surface.outer)
    corners = surface.vertices[surface.faces[triangles]]
    middles = corners.mean(1)
    chosen = np.zeros(landmarks.COUNT, np.int64)
    bary = np.zeros((landmarks.COUNT, 3))
    for i in range(len(canonical)):
        if i in contours:
            chosen[i], bary[i] = contours[i]
            continue
        if canonical[i, 0] < -1e-6:
            continue
        point = 0.5 * (target[i] + target[pairs[i]] * [-1, 1, 1])
        nearest, weights = _closest(point, corners, middles)
        chosen[i], bary[i] = triangles[nearest], weights
    _place_as_the_network(chosen, bary)
    _mirror_right(canonical, surface, pairs, chosen, bary)
    for indices, start in zip((landmarks.IRIS_LEFT, landmarks.IRIS_RIGHT), surface.eye_starts, strict=True):
        # Seen from the front, the picture's right is the subject's left, +x.
        ring = start + 1 + eyeballs.LIMBUS_RING * eyeballs.SEGMENTS
        quarter = eyeballs.SEGMENTS // 4
        for index, vertex in zip(indices, (start, *(ring + k * quarter for k in range(4))), strict=True):
            face = int(np.flatnonzero((surface.faces == vertex).any(1))[0])
            chosen[index], bary[index] = face, surface.faces[face] == vertex
    return chosen, bary


def _place_as_the_network(chosen: Array, bary: Array) -> None:
    """Move points of the left half to where the network sees them.

    The network does not put its points where its canonical face has them: on rendered heads of ten made-up people, in
    known poses, it was off by 3.4 % of the eyes' distance, of which two thirds are the same for everybody. The table
    holds the places on this head that agree best with it; lids, lips and irises keep theirs, which carry meaning.
    """
    with np.load(_NETWORK_PLACES, allow_pickle=False) as table:
        chosen[table["points"]] = table["faces"]
        bary[table["points"]] = table["bary"]


def _mirror_right(canonical: Array, surface: Surface, pairs: Array, chosen: Array, bary: Array) -> None:
    """Fill the right half in from the left: same weights on the mirrored triangle."""
    lookup = {tuple(sorted(face)): i for i, face in enumerate(surface.faces.tolist())}
    for i in range(len(canonical)):
        if canonical[i, 0] >= -1e-6:
            continue
        source = surface.faces[chosen[pairs[i]]]
        image = surface.mirror[source]
        chosen[i] = lookup[tuple(sorted(image.tolist()))]
        for k, vertex in enumerate(surface.faces[chosen[i]]):
            bary[i, k] = bary[pairs[i], int(np.flatnonzero(image == vertex)[0])]


def _mirror_pairs(canonical: Array) -> Array:
    """(468,) index of each point's mirror image."""
    flipped = canonical * [-1, 1, 1]
    distance = np.linalg.norm(flipped[:, None] - canonical[None], axis=-1)
    return distance.argmin(1)


def _contours(canonical: Array, surface: Surface) -> dict[int, tuple[int, Array]]:
    """Lid margins and lips: landmark -> (triangle, weights), for the left half and the midline."""
    faces = surface.faces
    is_eye = np.asarray(surface.eyes[faces].all(1))
    is_red = np.asarray((surface.lips[faces].sum(1) >= 2) | surface.inside[faces].any(1))
    is_inside = np.asarray(surface.inside[faces].sum(1) >= 2)
    lips = surface.vertices[surface.lips]
    mouth = np.array([0.0, 0.5 * (lips[:, 1].min() + lips[:, 1].max())])
    parted = surface.opened[surface.lips_meet].mean(0)[:2] * [0, 1]
    found: dict[int, tuple[int, Array]] = {}
    for indices, vertices, start, within, stretch in (
        (landmarks.EYE_LEFT, surface.vertices, surface.eye_centers[0][:2], is_eye, 2.5),
        (landmarks.LIPS_OUTER, surface.vertices, mouth, is_red, 2.5),
        (landmarks.LIPS_INNER, surface.opened, parted, is_inside, 8.0),
    ):
        places, points = walk_border(vertices, faces, surface.ignored, start, within, stretch)
        # Compare by the angle about the middle, after both contours are scaled to a unit box.
        angles = _angles(points)
        for i, angle in zip(indices, _angles(canonical[list(indices), :2]), strict=True):
            turn = np.abs(np.angle(np.exp(1j * (angles - angle))))
            found[i] = places[int(turn.argmin())]
    return {i: place for i, place in found.items() if canonical[i, 0] >= -1e-6}


def _angles(points: Array) -> Array:
    low, high = points.min(0), points.max(0)
    x, y = ((points - (low + high) / 2) / (high - low)).T
    return np.arctan2(y, x)


def _fit(canonical: Array, surface: Surface, contours: dict[int, tuple[int, Array]], pairs: Array) -> Array:
    """(468, 3) canonical points brought onto the mean head by a similarity and smooth corrections.

    A similarity is not enough, since the canonical face is one person's: identity modes take up the difference, and the
    points are carried back to the mean head with them.
    """
    modes = surface.modes[:_MODES]
    triangles = np.flatnonzero(surface.outer)
    shape = np.zeros(len(modes))
    known = {**contours}
    for i, (face, weights) in contours.items():
        image = surface.mirror[surface.faces[face]]
        known[int(pairs[i])] = (-1, np.concatenate([image, weights]))
    index = np.array(sorted(known))
    corner = np.array([surface.faces[known[i][0]] if known[i][0] >= 0 else known[i][1][:3] for i in index], int)
    weight = np.array([known[i][1] if known[i][0] >= 0 else known[i][1][3:] for i in index])
    free = np.setdiff1d(np.arange(len(canonical)), index)
    places = (corner[:0], weight[:0])
    for step in range(_ROUNDS):
        mesh = surface.vertices + np.tensordot(shape, modes, 1)
        fixed = (mesh[corner] * weight[..., None]).sum(1)
        if step == 0:
            moved = _similarity(canonical[index], fixed, canonical)
        else:
            ends = (mesh[places[0]] * places[1][..., None]).sum(1)
            moved = _similarity(
                np.concatenate([canonical[index], canonical[free]]), np.concatenate([fixed, ends]), canonical
            )
        corners = mesh[surface.faces[triangles]]
        middles = corners.mean(1)
        hits = [_closest(point, corners, middles) for point in moved[free]]
        places = (surface.faces[triangles[[h[0] for h in hits]]], np.array([h[1] for h in hits]))
        every = np.concatenate([corner, places[0]])
        share = np.concatenate([weight, places[1]])
        order = np.concatenate([index, free])
        design = (modes[:, every] * share[..., None]).sum(2).reshape(len(modes), -1).T
        rest = (moved[order] - (surface.vertices[every] * share[..., None]).sum(1)).ravel()
        shape = np.linalg.solve(design.T @ design + len(order) * _PRIOR * np.eye(len(modes)), design.T @ rest)
    # Offsets from the fitted surface, carried to the mean head.
    target = np.empty_like(canonical)
    mesh = surface.vertices + np.tensordot(shape, modes, 1)
    target[order] = (surface.vertices[every] * share[..., None]).sum(1)
    return target


def _similarity(source: Array, target: Array, points: Array) -> Array:
    """Apply to points the scaled rigid motion that brings source onto target best (Umeyama 1991)."""
    a, b = source.mean(0), target.mean(0)
    u, values, vt = np.linalg.svd((source - a).T @ (target - b))
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (values * sign).sum() / ((source - a) ** 2).sum()
    return scale * (points - a) @ (u * sign) @ vt + b


def _closest(point: Array, corners: Array, middles: Array) -> tuple[int, Array]:
    """The nearest of (F, 3, 3) triangles, given their (F, 3) middles, to a point; the weights of the nearest spot."""
    near = np.argpartition(((middles - point) ** 2).sum(1), 60)[:60]
    triangles = corners[near]
    # The spot lies within a triangle, or on one of its edges.
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    u, v, w = b - a, c - a, point - a
    uu, vv, uv = (u * u).sum(1), (v * v).sum(1), (u * v).sum(1)
    uw, vw = (u * w).sum(1), (v * w).sum(1)
    area = np.maximum(uu * vv - uv * uv, 1e-20)
    second, third = (vv * uw - uv * vw) / area, (uu * vw - uv * uw) / area
    options = [np.stack([1 - second - third, second, third], 1)]
    outside = (options[0] < 0).any(1)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = triangles[:, j] - triangles[:, i]
        t = ((point - triangles[:, i]) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-20)
        weights = np.zeros((len(near), 3))
        weights[:, j] = np.clip(t, 0, 1)
        weights[:, i] = 1 - weights[:, j]
        options.append(weights)
    weights = np.stack(options)
    distance = ((np.einsum("ofk,fkc->ofc", weights, triangles) - point) ** 2).sum(-1)
    distance[0, outside] = np.inf
    option, k = np.unravel_index(distance.argmin(), distance.shape)
    return int(near[k]), weights[option, k]


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Fields of a protocol-buffer message, fixed and length-delimited ones."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            varint()
            continue
        size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        yield key >> 3, data[at : at + size]
        at += size
