"""Reads ICT's face model (ICT-FaceKit, light version): the folder FaceXModel of OBJ files.

A neutral mesh in centimetres, 100 identity modes as meshes one standard deviation away, and expressions with ARKit's
names, sides as _L and _R. It has no joints: the jaw's are found from how the lower teeth turn as the jaw opens, the
eyes' from their spheres. What lies on the eyes (fluid, occlusion, lashes) is left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headavatar.errors import ModelError
from headavatar.head.build.eyeballs import fit_sphere
from headavatar.head.native import NativeHead
from headavatar.scene import ARKIT_NAMES, Array

TITLE = "ICT-FaceKit, light version: the folder FaceXModel"
FIX = "get the folder FaceXModel of ICT-FaceKit, whole, and name it"

_METRES = 0.01
_ALL_VERTICES, _ALL_FACES = 26719, 26384
_VERTICES, _FACES = 24591, 24692
"""Up to the eyeballs; fluid, blend and occlusion meshes and lashes come behind."""
_INNER = {"mouth_interior": (11248, 13294), "tongue": (14062, 17039), "teeth": (17039, 21451),
          "teeth_upper": (17039, 19247), "teeth_lower": (19247, 21451)}  # fmt: skip
_EYES = ((21451, 22221, 23021), (23021, 23791, 24591))
"""First vertex of an eyeball's white, of its iris, and past its end."""
_TILES = ((0.0, 0.0, 0.7, 1.0), (0.7, 0.5, 0.3, 0.5), *((0.7, 0.1 * k, 0.3, 0.1) for k in range(5)))
"""Left, bottom, width and height of each tile of the texture layout: the face, the rest of the head, inner parts."""
_MODES = 100
_NECK_SHARE = 0.3
"""Of the head's height: over this much, from below, the neck passes on its turn to the head."""


def read(path: Path) -> NativeHead:
    """Read the folder.

    Args:
        path: FaceXModel.
    Raises:
        ModelError: a file is missing or is not of this model.
    """
    neutral, uvs, corners, uv_corners = _neutral(path)
    template = neutral[:_VERTICES]
    shapes = np.zeros((len(ARKIT_NAMES), _VERTICES, 3), np.float32)
    for k, name in enumerate(ARKIT_NAMES):
        for part in _parts(name):
            shapes[k] += _vertices(path / f"{part}.obj")[:_VERTICES] - template
    for first, _, end in _EYES:
        shapes[:, first:end] = 0  # eyeballs turn about their joints
    modes = np.stack([_vertices(path / f"identity{k:03d}.obj")[:_VERTICES] - template for k in range(_MODES)])
    eyes = [fit_sphere(template[None, first:iris])[0][0] for first, iris, _ in _EYES]
    eyes, sides = (eyes, _EYES) if eyes[0][0] > eyes[1][0] else (eyes[::-1], _EYES[::-1])
    opened = shapes[ARKIT_NAMES.index("jawOpen")]
    pivot, follows = _jaw(template, opened)
    low, height = template[:, 1].min(), np.ptp(template[:, 1])
    ramp = np.clip((template[:, 1] - low) / (_NECK_SHARE * height), 0, 1)
    weights = np.zeros((_VERTICES, 4))
    weights[:, 0], weights[:, 1] = ramp * ramp * (3 - 2 * ramp), follows
    for k, (first, _, end) in enumerate(sides):
        weights[first:end] = 0
        weights[first:end, [0, 2 + k]] = 1
    around = template[np.abs(template[:, 1] - low - 0.5 * _NECK_SHARE * height) < 0.02]
    neck = np.array([0, low + 0.5 * _NECK_SHARE * height, (around[:, 2].min() + around[:, 2].max()) / 2])
    moved = np.stack([modes[:, first:iris].mean(1) for first, iris, _ in sides], 1)
    joint_basis = np.concatenate([np.zeros((_MODES, 2, 3)), moved], 1)
    native = NativeHead(
        template=template, faces=corners, identity_basis=modes.astype(np.float32),
        expression_basis=np.zeros((0, _VERTICES, 3)), weights=weights, joints=np.stack([neck, pivot, *eyes]),
        joint_basis=joint_basis, jaw_basis=np.zeros((9, _VERTICES, 3)), arkit=shapes,
        inner={name: _range(first, end) for name, (first, end) in _INNER.items()}, uvs=uvs, uv_faces=uv_corners,
    )  # fmt: skip
    native.check(path, FIX)
    return native


def _parts(name: str) -> list[str]:
    """The model's files that make up an ARKit shape."""
    if name == "tongueOut":
        return []
    if name in ("browInnerUp", "cheekPuff"):
        return [f"{name}_L", f"{name}_R"]
    for side in ("Left", "Right"):
        if name.endswith(side) and name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
            return [f"{name.removesuffix(side)}_{side[0]}"]
    return [name]


def _range(first: int, end: int) -> Array:
    index = np.arange(_VERTICES)
    return (index >= first) & (index < end)


def _jaw(template: Array, opened: Array) -> tuple[Array, Array]:
    """The jaw's pivot (3,), and how far each vertex (V,) follows as it opens."""
    teeth = slice(*_INNER["teeth_lower"])
    rest, open_ = template[teeth], template[teeth] + opened[teeth]
    u, _, vt = np.linalg.svd((open_ - open_.mean(0)).T @ (rest - rest.mean(0)))
    turn = (u * [1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    shift = open_.mean(0) - turn @ rest.mean(0)
    # The pivot stays: (1 - R) p = t, in the plane across the axis.
    pivot = np.linalg.lstsq(np.eye(3) - turn, shift, rcond=1e-6)[0] * [0, 1, 1]
    rigid = template @ turn.T + shift - template
    follows = (opened * rigid).sum(1) / np.maximum((rigid**2).sum(1), 1e-8)
    near = np.linalg.norm(rigid, axis=1) > 1e-3
    return pivot, np.clip(follows, 0, 1) * near


def _neutral(path: Path) -> tuple[Array, Array, Array, Array]:
    """Vertices (V, 3) metres, uvs (U, 2), and triangles' corners into both, without what is left out."""
    file = path / "generic_neutral_mesh.obj"
    uvs, corners, uv_corners, count = [], [], [], 0
    for line in _lines(file):
        if line.startswith("vt "):
            uvs.append(line.split()[1:3])
        elif line.startswith("f "):
            count += 1
            if count > _FACES:
                continue
            try:
                pairs = [[int(number) - 1 for number in corner.split("/")[:2]] for corner in line.split()[1:]]
                for k in range(1, len(pairs) - 1):
                    three = pairs[0], pairs[k], pairs[k + 1]
                    corners.append([pair[0] for pair in three])
                    uv_corners.append([pair[1] for pair in three])
            except (ValueError, IndexError) as error:
                raise _refused(file, f"a face reads {line!r}") from error
    if count != _ALL_FACES:
        raise _refused(file, f"it has {count} faces, not {_ALL_FACES}")
    faces, uv_faces, flat = np.array(corners), np.array(uv_corners), np.array(uvs, np.float64)
    if uv_faces.max() >= len(flat) or faces.max() >= _VERTICES or min(uv_faces.min(), faces.min()) < 0:
        raise _refused(file, "its faces name vertices that are not there")
    used, uv_faces = np.unique(uv_faces, return_inverse=True)
    return _vertices(file), _packed(flat[used]), faces, uv_faces.reshape(faces.shape)


def _packed(uvs: Array) -> Array:
    """(U, 2) a layout that goes on in tiles beside the first one, brought into one square: the face gets most of it."""
    tile = np.clip(np.floor(uvs[:, 0]).astype(int), 0, len(_TILES) - 1)
    box = np.array(_TILES)[tile]
    inside = np.clip(uvs - np.stack([tile, np.zeros_like(tile)], 1), 0, 1)
    return np.asarray(box[:, :2] + inside * box[:, 2:])


def _vertices(file: Path) -> Array:
    """(V, 3) metres."""
    rows = [line[2:] for line in _lines(file) if line.startswith("v ")]
    try:
        points = np.array(" ".join(rows).split(), np.float64).reshape(-1, 3)
    except ValueError as error:
        raise _refused(file, "its vertices cannot be read") from error
    if len(points) != _ALL_VERTICES:
        raise _refused(file, f"it has {len(points)} vertices, not {_ALL_VERTICES}")
    return points * _METRES


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise _refused(file, error.strerror or str(error)) from error


def _refused(file: Path, why: str) -> ModelError:
    return ModelError(f"{file} is not a part of ICT-FaceKit's model", why=why, fix=FIX)
