"""A head model as one compact npz: sparse in bits, free of pickles."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.errors import ModelError
from headavatar.scene import Array

VERSION = 1
NATIVE = "native."
"""Prefix of the arrays that an adapter keeps beside the head."""
_RENEW = "reinstall headavatar, or add the model again: headavatar models add KIND FILE"
_STEP = 4e-6
"""Metres per count of a quantised displacement: errors of 2 µm compress to a third of float32."""


@dataclass(frozen=True)
class HeadData:
    """What a head model is made of; numpy only.

    Attributes:
        name: of the model.
        template: (V, 3) mean head at rest, metres, head space.
        identity_basis: (S, V, 3) metres per standard deviation.
        expression_basis: (E, V, 3) metres at coefficient 1.
        expression_names: E names.
        quads: (Q, 4) faces; a triangle repeats its last corner.
        uvs: (U, 2) in [0, 1], v up.
        uv_quads: (Q, 4) into uvs.
        weights: (V, 4) how far a vertex follows each joint.
        joints: (4, 3) rest positions.
        joint_basis: (S, 4, 3) metres per standard deviation.
        regions: name -> (V,) bool.
        landmark_faces: (478,) triangles of the triangulated quads.
        landmark_bary: (478, 3).
        mirror: (V,) each vertex's mirror image.
        jaw_turns: (E, 3) how each expression turns the jaw about its joint, axis-angle, radians at coefficient 1; 0
            where the jaw's motion is in the expression's displacement.
    """

    name: str
    template: Array
    identity_basis: Array
    expression_basis: Array
    expression_names: tuple[str, ...]
    quads: Array
    uvs: Array
    uv_quads: Array
    weights: Array
    joints: Array
    joint_basis: Array
    regions: dict[str, Array]
    landmark_faces: Array
    landmark_bary: Array
    mirror: Array
    jaw_turns: Array


def triangulate(quads: Array) -> Array:
    """Split quads into triangles.

    Args:
        quads: (Q, 4); a triangle repeats its last corner.
    Returns:
        (F, 3): both halves of each quad next to each other, triangles once.
    """
    halves = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1)
    keep = np.stack([np.ones(len(quads), bool), quads[:, 2] != quads[:, 3]], 1)
    return halves[keep]


def write(path: Path, data: HeadData, native: Mapping[str, Array] | None = None) -> None:
    """Write a head model; the same data give the same bytes.

    Args:
        path: an .npz.
        data: the head.
        native: further arrays to be kept with it, read by `read_native`.
    """
    names = sorted(data.regions)
    more: dict[str, Any] = {NATIVE + key: array for key, array in (native or {}).items()}
    if data.jaw_turns.any():
        more["jaw_turns"] = data.jaw_turns.astype(np.float32)
    np.savez_compressed(
        path,
        version=np.array(VERSION),
        name=np.array(data.name),
        template=data.template.astype(np.float32),
        identity_basis=_quantise(data.identity_basis),
        expression_basis=_quantise(data.expression_basis),
        step=np.array(_STEP),
        expression_names=np.array(data.expression_names),
        quads=data.quads.astype(np.uint16),
        uvs=np.round(data.uvs * 65535).astype(np.uint16),
        uv_quads=data.uv_quads.astype(np.uint16),
        weights=np.round(data.weights * 255).astype(np.uint8),
        joints=data.joints.astype(np.float32),
        joint_basis=data.joint_basis.astype(np.float32),
        region_names=np.array(names),
        region_masks=np.packbits(np.stack([data.regions[name] for name in names]), axis=1),
        landmark_faces=data.landmark_faces.astype(np.uint16),
        landmark_bary=data.landmark_bary.astype(np.float32),
        mirror=data.mirror.astype(np.uint16),
        **more,
    )


def read(path: Path) -> HeadData:
    """Read a head model.

    Raises:
        ModelError: the file is missing, damaged or of another version.
    """
    arrays = _load(path, lambda key: not key.startswith(NATIVE))
    if int(arrays["version"]) != VERSION:
        raise ModelError(
            f"the head model {path} has version {int(arrays['version'])}",
            why=f"this program reads version {VERSION}",
            fix=_RENEW,
        )
    count = len(arrays["template"])
    step = float(arrays["step"])
    names = tuple(str(name) for name in arrays["expression_names"])
    masks = np.unpackbits(arrays["region_masks"], axis=1, count=count).astype(bool)
    return HeadData(
        name=str(arrays["name"]),
        template=arrays["template"],
        identity_basis=_restore(arrays["identity_basis"], step),
        expression_basis=_restore(arrays["expression_basis"], step),
        expression_names=names,
        quads=arrays["quads"].astype(np.int64),
        uvs=arrays["uvs"].astype(np.float32) / np.float32(65535),
        uv_quads=arrays["uv_quads"].astype(np.int64),
        weights=arrays["weights"].astype(np.float32) / np.float32(255),
        joints=arrays["joints"],
        joint_basis=arrays["joint_basis"],
        regions={str(name): mask for name, mask in zip(arrays["region_names"], masks, strict=True)},
        landmark_faces=arrays["landmark_faces"].astype(np.int64),
        landmark_bary=arrays["landmark_bary"],
        mirror=arrays["mirror"].astype(np.int64),
        jaw_turns=arrays.get("jaw_turns", np.zeros((len(names), 3), np.float32)),
    )


def read_native(path: Path) -> dict[str, Array]:
    """The arrays that an adapter kept beside a head.

    Raises:
        ModelError: the file is missing or damaged.
    """
    arrays = _load(path, lambda key: key.startswith(NATIVE))
    return {key.removeprefix(NATIVE): array for key, array in arrays.items()}


def _load(path: Path, wanted: Callable[[str], bool]) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files if wanted(key)}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"the head model {path} cannot be read", why=str(error), fix=_RENEW) from error


def _quantise(basis: Array) -> Array:
    """(B, V, 3) metres to (B, 3, V) counts: coordinates of one axis side by side compress better."""
    counts = np.round(basis / _STEP)
    if np.abs(counts).max() > np.iinfo(np.int16).max:
        raise ValueError("a displacement is too large to be stored")
    return counts.astype(np.int16).swapaxes(1, 2)


def _restore(counts: Array, step: float) -> Array:
    return np.ascontiguousarray(counts.swapaxes(1, 2).astype(np.float32) * np.float32(step))
