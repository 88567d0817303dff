"""VHAP's export: camera and FLAME parameters per frame.

    transforms.json, transforms_{train,val,test,backup,backup_flame}.json
        fl_x fl_y cx cy w h shared and per frame; frames: transform_matrix, file_path, fg_mask_path, flame_param_path,
        timestep_index, timestep_index_original, timestep_id, camera_index, camera_id
    images/00000_00.png   fg_masks/00000_00.png   flame_param/00000.npz   canonical_flame_param.npz

`transform_matrix` is camera to world with OpenGL's axes (y up, z backward). A clip of one camera has it at (0, 0, 1) in
FLAME's space, and then camera and FLAME are both shifted by FLAME's mean translation, which changes no picture. Arrays
of one frame keep a leading axis of length 1, `shape` has none. Canonical parameters have the mouth open by 0.3 rad.

Source: Qian et al. 2024, "VHAP: Versatile Head Alignment with Adaptive Appearance Priors"; GaussianAvatars reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.dialects import pictures
from headavatar.dialects.files import inside, matrix, pinhole, read_json, read_npz, take
from headavatar.dialects.recording import Imported, Recording, SkullPoses
from headavatar.errors import InputError
from headavatar.scene import Array, Camera

NAME = "vhap"
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
SIZES = {"rotation": 3, "translation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6}
CANONICAL_JAW_RAD = 0.3
TRAIN_SHARE = 0.7


def read(folder: Path) -> Imported:
    """Read a folder.

    Raises:
        InputError: it is not of this layout, damaged, or has a camera that zooms.
    """
    path = folder / "transforms.json"
    table = read_json(path, NAME)
    frames = table["frames"]
    cameras = sorted({int(row.get("camera_index", 0)) for row in frames})
    loaded: dict[str, Mapping[str, Array]] = {}
    for row in frames:
        name = str(take(row, "flame_param_path", path))
        if name not in loaded:
            loaded[name] = _parameters(inside(folder, name))
    chosen = max(cameras, key=lambda index: _facing([row for row in frames if _of(row, index)], loaded, path))
    rows = sorted((row for row in frames if _of(row, chosen)), key=lambda row: int(row.get("timestep_index", 0)))
    files = tuple(inside(folder, str(take(row, "file_path", path))) for row in rows)
    height, width = pictures.read(files[0])[0].shape[:2]
    parameters = [loaded[row["flame_param_path"]] for row in rows]
    native = {key: np.stack([p[key] for p in parameters]) for key in (*SIZES, "expr")}
    native["shape"] = parameters[0]["shape"]
    to_world = np.stack([matrix(row["transform_matrix"], (4, 4), "transform_matrix", path) for row in rows])
    poses = SkullPoses.chained(native["rotation"], native["neck_pose"], native["translation"])
    masked = all("fg_mask_path" in row for row in rows)
    masks = tuple(inside(folder, str(row["fg_mask_path"])) for row in rows) if masked else ()
    return Imported(
        dialect=NAME, pictures=files, camera=_camera(table, rows, width, height, path),
        poses=poses.seen_by(OPENGL @ np.linalg.inv(to_world)), native=native, held_out=_held_out(folder, rows),
        masks=masks if all(mask.is_file() for mask in masks) else (),
        notes=(f"of its {len(cameras)} cameras number {chosen}, which faces the head most",) if cameras[1:] else (),
    )  # fmt: skip


def write(folder: Path, recording: Recording, progress: Callable[[], None]) -> list[str]:
    """Write a folder as of one camera: FLAME parameters where they are known, else those of the recording's head."""
    for name in ("images", "fg_masks", "flame_param"):
        (folder / name).mkdir()
    native = _native(recording)
    mean = native["translation"].mean(0)
    to_world = np.linalg.inv(recording.camera.world_to_camera) @ OPENGL
    to_world[:3, 3] -= mean
    shared = _intrinsics(recording.camera)
    rows = []
    for frame in range(len(recording)):
        picture = f"{frame:05d}_00.png"
        matte = recording.mattes[frame]
        share = matte[..., None].astype(np.float32) / 255
        shown = recording.images[frame] * share + 255 * (1 - share)
        pictures.save(folder / "images" / picture, np.round(shown).astype(np.uint8))
        pictures.save(folder / "fg_masks" / picture, matte)
        values = {key: native[key][[frame]].astype(np.float32) for key in (*SIZES, "expr")}
        values["translation"] = values["translation"] - mean.astype(np.float32)
        np.savez(folder / "flame_param" / f"{frame:05d}.npz", shape=native["shape"].astype(np.float32), **values)  # type: ignore[arg-type]
        rows.append({
            "timestep_index": frame, "timestep_index_original": frame, "timestep_id": f"frame_{frame:05d}",
            "camera_index": 0, "camera_id": "0", **shared, "transform_matrix": to_world.tolist(),
            "file_path": f"images/{picture}", "fg_mask_path": f"fg_masks/{picture}",
            "flame_param_path": f"flame_param/{frame:05d}.npz",
        })  # fmt: skip
        progress()
    rest = {key: np.zeros((1, size), np.float32) for key, size in SIZES.items()}
    rest["jaw_pose"][0, 0] = CANONICAL_JAW_RAD
    rest |= {"expr": np.zeros_like(native["expr"][:1], np.float32), "shape": native["shape"].astype(np.float32)}
    np.savez(folder / "canonical_flame_param.npz", **rest)  # type: ignore[arg-type]
    train = int(np.ceil(TRAIN_SHARE * len(rows)))
    for name, chosen in (("", rows), ("_train", rows[:train]), ("_val", []), ("_test", rows[train:])):
        table = {**shared, "timestep_indices": [row["timestep_index"] for row in chosen], "camera_indices": [0],
                 "frames": chosen}  # fmt: skip
        (folder / f"transforms{name}.json").write_text(json.dumps(table, indent=1))
    return ["transforms.json"]


def _native(recording: Recording) -> Mapping[str, Array]:
    if recording.native:
        return recording.native
    p = recording.params
    return {
        "shape": p.identity, "expr": p.expression, "rotation": p.rotation, "translation": p.translation,
        "neck_pose": np.zeros_like(p.rotation), "jaw_pose": p.jaw, "eyes_pose": p.eyes,
    }  # fmt: skip


def _intrinsics(camera: Camera) -> dict[str, Any]:
    K, w, h = camera.K, camera.width, camera.height
    return {
        "cx": K[0, 2], "cy": K[1, 2], "fl_x": K[0, 0], "fl_y": K[1, 1], "h": h, "w": w,
        "camera_angle_x": 2 * float(np.arctan(w / (2 * K[0, 0]))),
        "camera_angle_y": 2 * float(np.arctan(h / (2 * K[1, 1]))),
    }  # fmt: skip


def _of(row: Mapping[str, Any], camera: int) -> bool:
    return int(row.get("camera_index", 0)) == camera


def _parameters(path: Path) -> dict[str, Array]:
    """One frame's parameters without their leading axis; joints that a file leaves out are at rest."""
    arrays = read_npz(path)
    found = {key: np.asarray(arrays.get(key, np.zeros((1, size))), np.float64) for key, size in SIZES.items()}
    for key in ("rotation", "translation", "shape", "expr"):
        found[key] = np.asarray(take(arrays, key, path), np.float64)
    for key, size in SIZES.items():
        found[key] = matrix(found[key].reshape(-1), (size,), key, path)
    return {**found, "shape": found["shape"].reshape(-1), "expr": found["expr"].reshape(-1)}


def _facing(rows: list[dict[str, Any]], loaded: Mapping[str, Mapping[str, Array]], path: Path) -> float:
    """How squarely a camera looks at the face, as the mean cosine."""
    total = 0.0
    for row in rows:
        to_world = matrix(take(row, "transform_matrix", path), (4, 4), "transform_matrix", path)
        p = loaded[row["flame_param_path"]]
        pose = SkullPoses.chained(p["rotation"][None], p["neck_pose"][None], p["translation"][None])
        total += float(pose.rotation[0, :, 2] @ to_world[:3, 2])
    return total / len(rows)


def _camera(table: Mapping[str, Any], rows: list[dict[str, Any]], width: int, height: int, path: Path) -> Camera:
    each = np.array([
        [float(take({**table, **row}, key, path)) for key in ("fl_x", "fl_y", "cx", "cy", "w")] for row in rows
    ])  # fmt: skip
    middle = np.median(each, 0)
    if np.abs(each[:, :2] / middle[:2] - 1).max() > 0.002 or np.abs(each[:, 2:] - middle[2:]).max() > 1:
        raise InputError(
            f"{path} has another camera in every frame.", why="A clip has one camera, which does not zoom."
        )
    scale = width / middle[4]  # pictures are sometimes made smaller after the table was written
    fx, fy, cx, cy = (float(value) * scale for value in middle[:4])
    return Camera(pinhole(fx, fy, cx, cy, path), width, height)


def _held_out(folder: Path, rows: list[dict[str, Any]]) -> Array:
    test = folder / "transforms_test.json"
    if not test.is_file():
        return np.zeros(len(rows), bool)
    names = {row.get("file_path") for row in json.loads(test.read_text(encoding="utf-8")).get("frames", [])}
    return np.array([row["file_path"] in names for row in rows])
