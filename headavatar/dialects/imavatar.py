"""IMavatar's folder, which PointAvatar, FLARE and others share: one JSON with FLAME parameters of all frames.

    flame_params.json   frames: file_path, world_mat (3, 4), expression, pose (15), bbox, flame_keypoints;
                        shape_params; intrinsics
    image/1.png …       mask/1.png …

`world_mat` is world to camera with OpenGL's axes and no rotation, its translation near (0, 0, -4): the head is FLAME's
times 4. `intrinsics` are shares of the picture's size, the first one, -fx, negative, since x / z changes its sign with
z; an older form has pixels of a picture of 512. `pose` is the root, neck, jaw and both eyes, axis-angle. `bbox` and
`flame_keypoints` are in [-1, 1]. Frames are counted from 1, without leading zeros, and `file_path` has no suffix.

Source: Zheng et al. 2022, "I M Avatar: Implicit Morphable Head Avatars from Videos"; its optimizer writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.dialects import pictures
from headavatar.dialects.files import inside, matrix, pinhole, read_json, take
from headavatar.dialects.recording import Imported, Recording, SkullPoses
from headavatar.errors import InputError
from headavatar.scene import Array, Camera

NAME = "imavatar"
HEAD_SCALE = 4.0
OLD_SIZE = 512
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
POSE = {"rotation": slice(0, 3), "neck_pose": slice(3, 6), "jaw_pose": slice(6, 9), "eyes_pose": slice(9, 15)}


def read(folder: Path) -> Imported:
    """Read a folder.

    Raises:
        InputError: it is not of this layout, or damaged.
    """
    path = folder / "flame_params.json"
    table = read_json(path, NAME)
    rows = sorted(table["frames"], key=lambda row: pictures.by_number(Path(str(take(row, "file_path", path)))))
    files = tuple(_picture(folder, str(row["file_path"])) for row in rows)
    height, width = pictures.read(files[0])[0].shape[:2]
    pose = np.stack([matrix(take(row, "pose", path), (15,), "pose", path) for row in rows])
    native = {key: pose[:, part] for key, part in POSE.items()}
    native["expr"] = np.stack([np.asarray(take(row, "expression", path), np.float64) for row in rows])
    native["shape"] = np.asarray(take(table, "shape_params", path), np.float64).reshape(-1)
    to_camera = np.tile(np.eye(4), (len(rows), 1, 1))
    for i, row in enumerate(rows):
        to_camera[i, :3] = matrix(take(row, "world_mat", path), (3, 4), "world_mat", path)
    to_camera[:, :3, 3] /= HEAD_SCALE
    native["translation"] = np.zeros((len(rows), 3))
    poses = SkullPoses.chained(native["rotation"], native["neck_pose"], native["translation"])
    masks = tuple(file.parent.parent / "mask" / file.name for file in files)
    return Imported(
        dialect=NAME, pictures=files, camera=_camera(take(table, "intrinsics", path), width, height, path),
        poses=poses.seen_by(OPENGL @ to_camera), native=native, held_out=np.zeros(len(rows), bool),
        masks=masks if all(mask.is_file() for mask in masks) else (),
    )  # fmt: skip


def write(folder: Path, recording: Recording, progress: Callable[[], None]) -> list[str]:
    """Write a folder: FLAME parameters where they are known, else those of the recording's head.

    The layout has one translation for the clip and lets the head turn about its root; a head that also moves gets its
    translation into each frame's `world_mat`, which all readers take frame by frame.
    """
    for name in ("image", "mask"):
        (folder / name).mkdir()
    native = _native(recording)
    K, w, h = recording.camera.K, recording.camera.width, recording.camera.height
    rows = []
    for frame in range(len(recording)):
        name = f"{frame + 1}"
        pictures.save(folder / "image" / f"{name}.png", recording.images[frame])
        pictures.save(folder / "mask" / f"{name}.png", recording.mattes[frame])
        pose = np.concatenate([native[key][frame] for key in POSE])
        points = recording.landmarks[frame, :, :2] / [w, h] * 2 - 1
        world = np.concatenate([np.eye(3), HEAD_SCALE * native["translation"][frame][:, None]], 1)
        rows.append({
            "file_path": f"./image/{name}", "world_mat": world.tolist(), "pose": pose.tolist(),
            "expression": native["expr"][frame].tolist(), "flame_keypoints": points.tolist(),
            "bbox": [*points.min(0).tolist(), *points.max(0).tolist()],
        })  # fmt: skip
        progress()
    table = {
        "frames": rows, "intrinsics": [-K[0, 0] / w, K[1, 1] / h, K[0, 2] / w, K[1, 2] / h],
        "shape_params": native["shape"].tolist(),
    }  # fmt: skip
    (folder / "flame_params.json").write_text(json.dumps(table))
    return ["flame_params.json"]


def _native(recording: Recording) -> Mapping[str, Array]:
    """Floats of plain Python precision, with the translation in our world, whose axes are OpenGL's too."""
    p = recording.params
    given = recording.native or {
        "shape": p.identity, "expr": p.expression, "rotation": p.rotation, "translation": p.translation,
        "neck_pose": np.zeros_like(p.rotation), "jaw_pose": p.jaw, "eyes_pose": p.eyes,
    }  # fmt: skip
    return {key: np.asarray(value, np.float64) for key, value in given.items()}


def _picture(folder: Path, relative: str) -> Path:
    path = inside(folder, relative)
    return path if path.suffix.lower() in pictures.SUFFIXES else path.with_name(f"{path.name}.png")


def _camera(values: Any, width: int, height: int, path: Path) -> Camera:
    fx, fy, cx, cy = matrix(values, (4,), "intrinsics", path)
    if fx > 0:
        raise InputError(
            f"{path} has a positive focal length.",
            why="In this layout the first of the intrinsics is negative; otherwise nothing says which axes hold.",
            fix="Write the folder with the layout's own program.",
        )
    size = np.array([OLD_SIZE, OLD_SIZE]) if max(cx, cy) > 1 else np.ones(2)
    x, y = np.array([width, height]) / size
    return Camera(pinhole(-fx * x, fy * y, cx * x, cy * y, path), width, height)
