"""Reads FLAME's generic_model.pkl: versions 2019, 2020, 2023 and 2023 Open.

All of them are pickles of one dict: a mean head of 5,023 vertices, 300 shape and 100 expression directions in one array
`shapedirs`, pose correctives, skinning weights of five joints and the regressor that finds these joints. Some versions
keep arrays as chumpy's and the regressor as scipy's sparse matrix; neither library is needed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headavatar.errors import ModelError
from headavatar.head.flame import EYE_A, JAW, ROOT
from headavatar.head.native import NativeHead
from headavatar.pretrained.unpickle import SCIENTIFIC, dense, unpickle
from headavatar.scene import Array

TITLE = "FLAME 2019, 2020, 2023 or 2023 Open: generic_model.pkl, flame2023.pkl"
FIX = "get generic_model.pkl (or flame2023.pkl) from flame.is.tue.mpg.de, and name that file"

VERTICES, FACES, JOINTS, SHAPES, EXPRESSIONS = 5023, 9976, 5, 300, 100
_KEYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
_PARENTS = (0, 1, 1, 1)
IDENTITY_MODES = 100
"""Of the 300 shapes the first ones, which hold nearly all that tells people apart."""


def read(path: Path) -> NativeHead:
    """Read a FLAME file without running anything in it.

    Args:
        path: the pickle.
    Raises:
        ModelError: it is no FLAME model, lacks a part, or holds anything but arrays.
    """
    content = unpickle(path, "a FLAME model", FIX, SCIENTIFIC)
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise ModelError(f"{path} is not a FLAME model", why=f"it has no {', '.join(missing)}", fix=FIX)
    arrays = {key: _array(path, key, content[key]) for key in _KEYS}
    directions = arrays["shapedirs"].shape[-1] if arrays["shapedirs"].ndim == 3 else 0
    expected = {
        "v_template": (VERTICES, 3), "f": (FACES, 3), "posedirs": (VERTICES, 3, 9 * (JOINTS - 1)),
        "shapedirs": (VERTICES, 3, max(directions, SHAPES + EXPRESSIONS)), "J_regressor": (JOINTS, VERTICES),
        "weights": (VERTICES, JOINTS), "kintree_table": (2, JOINTS),
    }  # fmt: skip
    for key, shape in expected.items():
        if arrays[key].shape != shape:
            raise _refused(path, f"{key} is {_size(arrays[key].shape)} where FLAME's is {_size(shape)}")
        if not np.isfinite(arrays[key]).all():
            raise _refused(path, f"{key} holds numbers that are not finite")
    if tuple(arrays["kintree_table"][0, 1:].astype(np.int64)) != _PARENTS:
        raise _refused(path, "its joints are not a neck, a jaw and two eyes")
    if arrays["f"].min() < 0 or arrays["f"].max() >= VERTICES:
        raise _refused(path, "its faces name vertices that are not there")
    return _native(path, arrays)


def _native(path: Path, arrays: dict[str, Array]) -> NativeHead:
    template, regressor = arrays["v_template"].astype(np.float64), arrays["J_regressor"].astype(np.float64)
    directions = np.ascontiguousarray(arrays["shapedirs"].astype(np.float32).transpose(2, 0, 1))
    pose = np.ascontiguousarray(arrays["posedirs"].astype(np.float32).transpose(2, 0, 1))
    shapes, expressions = directions[:SHAPES], directions[SHAPES : SHAPES + EXPRESSIONS]
    skinning = np.clip(arrays["weights"].astype(np.float64), 0, 1)
    joints = regressor @ template
    eyes = np.array([EYE_A, EYE_A + 1])
    order = eyes if joints[EYE_A, 0] > joints[EYE_A + 1, 0] else eyes[::-1]
    ours = [1, JAW, *order]
    weights = skinning[:, ours]
    weights[:, 0] = 1 - skinning[:, ROOT]
    identity = shapes[:IDENTITY_MODES]
    native = NativeHead(
        template=template, faces=arrays["f"].astype(np.int64), identity_basis=identity,
        expression_basis=expressions.astype(np.float64), weights=weights, joints=joints[ours],
        joint_basis=np.einsum("jv,svc->sjc", regressor[ours], identity), jaw_basis=pose[9:18].astype(np.float64),
        own={
            "template": template.astype(np.float32), "shape_basis": shapes, "expression_basis": expressions,
            "pose_basis": pose, "joint_regressor": regressor.astype(np.float32),
            "weights": skinning.astype(np.float32), "eye_order": np.array(order, np.int64),
        },
    )  # fmt: skip
    native.check(path, FIX)
    return native


def _array(path: Path, key: str, value: object) -> Array:
    try:
        return dense(value)
    except ValueError as error:
        raise _refused(path, f"{key} is {error}") from error


def _refused(path: Path, why: str) -> ModelError:
    return ModelError(f"{path} is not a FLAME model", why=why, fix=FIX)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
