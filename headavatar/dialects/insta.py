"""INSTA's folder: the head stands still, the camera moves; one mesh per frame.

    transforms.json, transforms_train.json, transforms_test.json, transforms_val.json
        w h cx cy fl_x fl_y integer_depth_scale; frames: transform_matrix, file_path, mesh_path, exp_path, depth_path,
        seg_mask_path
    images/N.png   RGBA, the head cut out        meshes/N.obj   flame/exp/N.txt   depth/N.png   canonical.obj

`transform_matrix` is camera to world with OpenCV's axes, the plain inverse of world to camera, no axis flipped. Frames
are listed in whatever order the writer's processes finished, and those without a mesh are left out. Of the head's
parameters only the expression is there, as text.

Source: Zielonka et al. 2023, "Instant Volumetric Head Avatars"; its scripts write the files and its viewer reads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.dialects import pictures
from headavatar.dialects.files import inside, matrix, pinhole, read_json, take
from headavatar.dialects.recording import Imported, Recording, SkullPoses
from headavatar.errors import InputError
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.scene import Array, Camera

NAME = "insta"


def read(folder: Path) -> Imported:
    """Read a folder.

    Raises:
        InputError: it is not of this layout, or damaged.
    """
    path = folder / "transforms.json"
    table = read_json(path, NAME)
    rows = sorted(table["frames"], key=lambda row: pictures.by_number(Path(str(take(row, "file_path", path)))))
    files = tuple(_picture(folder, str(row["file_path"])) for row in rows)
    height, width = pictures.read(files[0])[0].shape[:2]
    fx, fy, cx, cy = (float(take(table, key, path)) for key in ("fl_x", "fl_y", "cx", "cy"))
    scale = width / float(table.get("w") or width)
    camera = Camera(pinhole(fx * scale, fy * scale, cx * scale, cy * scale, path), width, height)
    for row in rows:
        take(row, "mesh_path", path)  # what tells this layout from others with such a transforms.json
    meshes = tuple(inside(folder, str(row["mesh_path"])) for row in rows)
    to_world = np.stack([matrix(take(row, "transform_matrix", path), (4, 4), "transform_matrix", path) for row in rows])
    still = SkullPoses.rigid(np.broadcast_to(np.eye(3), (len(rows), 3, 3)), np.zeros((len(rows), 3)))
    native: dict[str, Array] = {}
    if all("exp_path" in row for row in rows):
        native["expr"] = np.stack([_numbers(inside(folder, row["exp_path"])) for row in rows])
    return Imported(
        dialect=NAME, pictures=files, camera=camera, poses=still.seen_by(np.linalg.inv(to_world)), native=native,
        held_out=_held_out(folder, rows), meshes=meshes if all(mesh.is_file() for mesh in meshes) else (),
    )  # fmt: skip


def write(folder: Path, recording: Recording, progress: Callable[[], None]) -> list[str]:
    """Write a folder; depth and segmentation, which are optional, are left out."""
    for name in ("images", "meshes", "flame/exp"):
        (folder / name).mkdir(parents=True)
    camera, params = recording.camera, recording.params
    rotation = axis_angle_to_matrix_np(params.rotation)
    expression = recording.native.get("expr", params.expression)
    rows = []
    for frame in range(len(recording)):
        name = f"{frame:05d}"
        pose = np.eye(4)
        pose[:3, :3] = rotation[frame]
        pose[:3, 3] = params.translation[frame] + rotation[frame] @ recording.shift
        pictures.save(folder / "images" / f"{name}.png", recording.images[frame], recording.mattes[frame])
        still = (recording.vertices[frame] - pose[:3, 3]) @ pose[:3, :3]
        (folder / "meshes" / f"{name}.obj").write_text(_obj(still, recording.faces))
        np.savetxt(folder / "flame" / "exp" / f"{name}.txt", expression[frame], fmt="%.8f")
        rows.append({
            "transform_matrix": np.linalg.inv(camera.world_to_camera @ pose).tolist(),
            "file_path": f"images/{name}.png", "mesh_path": f"meshes/{name}.obj", "exp_path": f"flame/exp/{name}.txt",
            "depth_path": f"depth/{name}.png", "seg_mask_path": f"seg_mask/{name}.png",
        })  # fmt: skip
        progress()
    (folder / "canonical.obj").write_text(_obj(recording.rest - recording.shift, recording.faces))
    K, w, h = camera.K, camera.width, camera.height
    angles = [2 * float(np.arctan(side / (2 * focal))) for side, focal in ((w, K[0, 0]), (h, K[1, 1]))]
    shared = {
        "w": float(w), "h": float(h), "cx": K[0, 2], "cy": K[1, 2], "fl_x": K[0, 0], "fl_y": K[1, 1],
        "camera_angle_x": angles[0], "camera_angle_y": angles[1], "x_fov": float(np.degrees(angles[0])),
        "y_fov": float(np.degrees(angles[1])), "integer_depth_scale": 0.001,
    }  # fmt: skip
    train = [row for row, held in zip(rows, recording.held_out, strict=True) if not held]
    test = [row for row, held in zip(rows, recording.held_out, strict=True) if held]
    for name, chosen in (("", rows), ("_train", train), ("_test", test), ("_val", rows[-20:])):
        (folder / f"transforms{name}.json").write_text(json.dumps({**shared, "frames": chosen}, indent=1))
    return ["transforms.json"]


def _picture(folder: Path, relative: str) -> Path:
    """The head cut out, or the whole frame where that was never made."""
    path = inside(folder, relative)
    return path if path.parent.is_dir() else folder / "background" / path.name


def _held_out(folder: Path, rows: list[dict[str, Any]]) -> Array:
    test = folder / "transforms_test.json"
    if not test.is_file():
        return np.zeros(len(rows), bool)
    try:
        names = {row["file_path"] for row in json.loads(test.read_text(encoding="utf-8"))["frames"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{test} cannot be read.", why=str(error)) from error
    return np.array([row["file_path"] in names for row in rows])


def _numbers(path: Path) -> Array:
    try:
        return np.array(path.read_text(encoding="utf-8").split(), np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read.", why=str(error)) from error


def _obj(vertices: Array, faces: Array) -> str:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
    return "\n".join(lines) + "\n"
