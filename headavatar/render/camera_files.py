"""Reading cameras that somebody made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.dialects.files import matrix
from headavatar.errors import InputError
from headavatar.scene import Array, Camera

OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenGL's camera looks along -z with y up, OpenCV's along z with y down."""
MOST_PX = 4096
_KNOWN = "K with world_to_camera (ours), or frames with transform_matrix (nerfstudio, instant-ngp, Blender)"


def read_cameras(path: Path) -> tuple[list[Camera], bool]:
    """Cameras of a file.

    Two kinds are read. Ours: `K`, `width`, `height` and `world_to_camera`, one (4, 4) matrix or a list of them, OpenCV
    axes, in the clip's world. `transforms.json` as nerfstudio, instant-ngp and Blender's scripts write it:
    `frames[].transform_matrix` from camera to world with OpenGL's axes; `w`, `h`, `fl_x`, `fl_y`, `cx`, `cy` (or
    `camera_angle_x`) for all frames or for each; its world is head space, in metres. Either may say `"space": "head"`
    or `"world"` instead. NeRFBlendShape's spelling `fx`, `fy` goes with its pixels, whose first center is (0, 0), and
    the `head_to_space` of our own such folders is undone.

    Returns:
        the cameras, and whether their world is head space.
    Raises:
        InputError: the file is missing, is neither kind, or holds no camera that could be.
    """
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read.", why=str(error), fix="Name a JSON file of cameras.") from error
    if not isinstance(about, dict) or not ("K" in about or isinstance(about.get("frames"), list)):
        raise InputError(f"{path} holds no cameras.", why=f"Cameras come as {_KNOWN}.")
    space = about.get("space", "world" if "K" in about else "head")
    if space not in ("head", "world"):
        raise InputError(f"{path} is in {space!r} space.", why="Space is head or world.")
    try:
        cameras = _ours(about, path) if "K" in about else _transforms(about, path)
    except (TypeError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f"{path} holds no cameras.", why=str(error), fix=f"Cameras come as {_KNOWN}.") from error
    if not cameras:
        raise InputError(f"{path} holds no cameras.", why="Its list is empty.")
    return cameras, space == "head"


def in_world(camera: Camera, head_to_world: Array) -> Camera:
    """A camera of head space where the head stands at `head_to_world` (4, 4)."""
    return Camera(camera.K, camera.width, camera.height, camera.world_to_camera @ np.linalg.inv(head_to_world))


def _ours(about: Mapping[str, Any], path: Path) -> list[Camera]:
    poses: Any = about.get("world_to_camera")
    many = isinstance(poses, list) and np.ndim(poses[:1]) == 3
    K = matrix(about["K"], (3, 3), "K", path)
    size = _size(about, "width", path), _size(about, "height", path)
    return [
        Camera(K, *size, _rigid(matrix(pose, (4, 4), "world_to_camera", path), path))
        for pose in (poses if many else [poses])
    ]


def _transforms(about: Mapping[str, Any], path: Path) -> list[Camera]:
    to_head = np.linalg.inv(matrix(about.get("head_to_space", np.eye(4)), (4, 4), "head_to_space", path))
    unit = np.cbrt(np.linalg.det(to_head[:3, :3]))
    cameras = []
    for frame in about["frames"]:
        row = {**about, **frame}
        pose = to_head @ matrix(row.get("transform_matrix"), (4, 4), "transform_matrix", path)
        pose[:3, :3] /= unit
        pose = np.linalg.inv(_rigid(pose, path) @ OPENGL_TO_OPENCV)
        width, height = _size(row, "w", path), _size(row, "h", path)
        cameras.append(Camera(_intrinsics(row, width, height, path), width, height, pose))
    return cameras


def _intrinsics(row: Mapping[str, Any], width: int, height: int, path: Path) -> Array:
    fx = row.get("fl_x", row.get("fx"))
    shift = 0.5 if "fx" in row and "fl_x" not in row else 0.0
    if fx is None and "camera_angle_x" in row:
        fx = width / 2 / np.tan(float(row["camera_angle_x"]) / 2)
    fy = row.get("fl_y", row.get("fy", fx))
    values = matrix(
        [fx, fy, row.get("cx", width / 2 - shift), row.get("cy", height / 2 - shift)], (4,), "fl_x, fl_y, cx, cy", path
    )
    if min(values[:2]) <= 0:
        raise InputError(f"{path}: a focal length is not positive.", why=f"fl_x, fl_y are {values[0]}, {values[1]}.")
    return np.array([[values[0], 0, values[2] + shift], [0, values[1], values[3] + shift], [0, 0, 1]])


def _size(row: Mapping[str, Any], key: str, path: Path) -> int:
    value = row.get(key)
    if not isinstance(value, (int, float)) or not 1 <= value <= MOST_PX or value != int(value):
        raise InputError(f"{path}: {key} is {value!r}.", why=f"A picture has 1 … {MOST_PX} pixels to a side.")
    return int(value)


def _rigid(pose: Array, path: Path) -> Array:
    turn = pose[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-2 or np.linalg.det(turn) < 0 or abs(pose[3, 3] - 1) > 1e-6:
        raise InputError(
            f"{path}: a camera's matrix is no rotation and place.", why="It scales, shears or mirrors.",
            fix="Write rigid (4, 4) matrices whose last row is 0 0 0 1.",
        )  # fmt: skip
    return pose
