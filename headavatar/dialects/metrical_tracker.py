"""metrical-tracker's own output: a checkpoint per frame, before any other program's scripts turn it into a data set.

    checkpoint/00001.frame   flame: exp shape eyes eyelids jaw tex sh; camera; opencv: R t K; img_size, frame_id
    input/00001.png          mesh/00001.ply   depth/00001.png   canonical.obj

The files are torch pickles, so they go through torch's restricted loader, which builds tensors and numpy arrays of
numbers and runs nothing else. The head stands still and the camera moves; `opencv` is world to camera with OpenCV's
axes. jaw and eyes are rotations as the first two rows of their matrices.

Source: Zielonka et al. 2022, "Towards Metrical Reconstruction of Human Faces"; its tracker writes the files. Zhou et
al. 2019, "On the Continuity of Rotation Representations in Neural Networks", for the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.dialects import pictures, torch_files
from headavatar.dialects.files import matrix, pinhole, take
from headavatar.dialects.recording import Imported, SkullPoses
from headavatar.errors import InputError
from headavatar.head.rotations import matrix_to_axis_angle_np
from headavatar.scene import Array, Camera

NAME = "metrical-tracker"
FIX = "Write the frames again with the tracker, or leave the folder alone: it may hold code."


def read(folder: Path) -> Imported:
    """Read a folder.

    Raises:
        InputError: it is not of this layout, damaged, or a file holds more than numbers.
    """
    found = sorted((folder / "checkpoint").glob("*.frame"), key=pictures.by_number)
    if not found:
        raise InputError(f"{folder} is no {NAME} folder.", why="It has no checkpoint/*.frame.", fix="Check --from.")
    rows = [torch_files.load(path, f"a {NAME} checkpoint", FIX) for path in found]
    seen = [{key: np.asarray(take(_part(row, "opencv", path), key, path), np.float64).squeeze() for key in "RtK"}
            for row, path in zip(rows, found, strict=True)]  # fmt: skip
    to_camera = np.tile(np.eye(4), (len(rows), 1, 1))
    for i, (part, path) in enumerate(zip(seen, found, strict=True)):
        to_camera[i, :3, :3] = matrix(part["R"], (3, 3), "R", path)
        to_camera[i, :3, 3] = matrix(part["t"], (3,), "t", path)
    K = np.median([matrix(part["K"], (3, 3), "K", path) for part, path in zip(seen, found, strict=True)], 0)
    files = tuple(_picture(folder, path.stem) for path in found)
    height, width = pictures.read(files[0])[0].shape[:2]
    size = np.asarray(rows[0].get("img_size", (height, width)), np.float64).reshape(-1)
    scale = width / size[1]
    still = SkullPoses.rigid(np.broadcast_to(np.eye(3), (len(rows), 3, 3)), np.zeros((len(rows), 3)))
    return Imported(
        dialect=NAME, pictures=files,
        camera=Camera(
            pinhole(K[0, 0] * scale, K[1, 1] * scale, K[0, 2] * scale, K[1, 2] * scale, found[0]), width, height
        ),
        poses=still.seen_by(to_camera),
        native=_native([_part(row, "flame", path) for row, path in zip(rows, found, strict=True)], found[0]),
        held_out=np.zeros(len(rows), bool),
    )  # fmt: skip


def _part(row: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    part = take(row, name, path)
    if not isinstance(part, dict):
        raise InputError(f"{path} is no {NAME} checkpoint.", why=f"Its {name} is no table.")
    return part


def _native(parts: list[Mapping[str, Any]], path: Path) -> dict[str, Array]:
    def stack(key: str) -> Array:
        return np.stack([np.asarray(take(part, key, path), np.float64).reshape(-1) for part in parts])

    frames = len(parts)
    found = {
        "expr": stack("exp"), "shape": stack("shape")[0], "rotation": np.zeros((frames, 3)),
        "translation": np.zeros((frames, 3)), "neck_pose": np.zeros((frames, 3)),
        "jaw_pose": matrix_to_axis_angle_np(_from_rows(stack("jaw"))),
        "eyes_pose": matrix_to_axis_angle_np(_from_rows(stack("eyes").reshape(frames, 2, 6))).reshape(frames, 6),
    }  # fmt: skip
    return found | ({"eyelids": stack("eyelids")} if "eyelids" in parts[0] else {})


def _from_rows(rows: Array) -> Array:
    """(..., 6) two rows of a rotation matrix, not quite orthonormal, to (..., 3, 3)."""
    first = rows[..., :3] / np.linalg.norm(rows[..., :3], axis=-1, keepdims=True)
    second = rows[..., 3:] - (first * rows[..., 3:]).sum(-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], -2)


def _picture(folder: Path, stem: str) -> Path:
    for room in ("input", "images", "source"):
        for suffix in pictures.SUFFIXES:
            if (path := folder / room / f"{stem}{suffix}").is_file():
                return path
    raise InputError(f"{folder} has no picture of frame {stem}.", why="It is looked for in input, images and source.")
