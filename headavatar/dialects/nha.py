"""Neural Head Avatars' folder: a folder per frame, its tracker's FLAME parameters in one file, and its split.

    frame_0000/image_0000.png, parsing_0000.png       19 classes, 16-bit gray
    frame_0000/keypoints_static_0000.json, seg_0000.png, normals_0000.png       not read: found anew
    split.json                                        train and val: numbers of frames
    …/tracking_0/tracked_flame_params.npz             rotation translation neck_pose jaw_pose eyes_pose expr, per row;
                                                      shape, K, RT, frame, n_processed, image_size (height, width)

Joints are stored before the limits that the tracker puts on them by a tanh. Its FLAME turns about the root joint, which
lies at `translation`. The camera is pytorch3d's: x left, y up, z forward, row vectors, so RT's rotation is transposed;
`K` is focal length over the longer side, then the principal point over width and height, the latter from the bottom, as
the tracker hands it to a renderer that counts from the top. Rows from `n_processed` on were not tracked.

Source: Grassal et al. 2022, "Neural Head Avatars from Monocular RGB Videos", and what its two programs write and read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.dialects import pictures
from headavatar.dialects.files import matrix, pinhole, read_npz, take
from headavatar.dialects.recording import Imported, SkullPoses
from headavatar.errors import InputError
from headavatar.scene import Array, Camera

NAME = "nha"
TRACKING = "tracked_flame_params.npz"
PICTURE, PARSING = "image_0000.png", "parsing_0000.png"
PYTORCH3D = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From its camera axes to OpenCV's."""
LIMITS_DEG = {
    "neck_pose": ((-90, 90), (-60, 60), (-80, 80)),
    "jaw_pose": ((-5, 60), (-0.1, 0.1), (-0.1, 0.1)),
    "eyes_pose": ((-50, 50), (-50, 50), (-0.1, 0.1)) * 2,
}


def read(folder: Path) -> Imported:
    """Read a folder.

    Raises:
        InputError: it is not of this layout, damaged, or was tracked with cameras that are not in it.
    """
    shown = _pictures(folder)
    notes: list[str] = []
    path = _tracking(folder, notes)
    table = read_npz(path)
    numbers = np.asarray(take(table, "frame", path), np.int64).reshape(-1)
    tracked = numbers[: int(table.get("n_processed", len(numbers)))].tolist()
    if len(set(tracked)) < len(tracked):
        raise InputError(f"{path} has several rows of one frame.", fix="Track the folder again.")
    train, held = _split(folder, tracked, notes)
    rows = [row for row, number in enumerate(tracked) if number in shown and number in train | held]
    rows.sort(key=lambda row: tracked[row])
    if not rows:
        raise InputError(f"{path} tracks no frame of {folder}.", why="The frames' numbers, or its split, differ.")
    if missing := sum(number not in shown for number in tracked):
        notes.append(f"{missing} of its {len(tracked)} tracked frames have no picture")
    files = tuple(shown[tracked[row]] for row in rows)
    masks = tuple(file.with_name(PARSING) for file in files)
    parsed = all(file.with_name(PARSING).is_file() for file in shown.values())
    if not parsed:
        notes.append(f"there is not a {PARSING} for every picture, so networks find the head")
    native = _native(table, len(numbers), rows, path)
    poses = SkullPoses.chained(native["rotation"], native["neck_pose"], native["translation"], at_root=True)
    return Imported(
        dialect=NAME, pictures=files, camera=_camera(table, files[0], path),
        poses=poses.seen_by(np.broadcast_to(_to_camera(table, path), (len(rows), 4, 4))), native=native,
        held_out=np.array([tracked[row] in held for row in rows]), masks=masks if parsed else (),
        mask_colors="nineteen" if parsed else "matte", notes=tuple(notes),
    )  # fmt: skip


def limited(joint: Array, name: str) -> Array:
    """Rotations from a joint's stored numbers.

    Args:
        joint: (T, 3), or (T, 6) for both eyes; any numbers.
        name: a key of `LIMITS_DEG`.
    Returns:
        axis-angle, radians, of the same shape.
    """
    low, high = np.radians(LIMITS_DEG[name]).T
    return np.asarray(low + (np.tanh(joint) + 1) / 2 * (high - low))


def _pictures(folder: Path) -> dict[int, Path]:
    """Frame number → picture."""
    found = {}
    for path in folder.glob(f"frame_*/{PICTURE}"):
        number = path.parent.name.rpartition("_")[2]
        if number.isascii() and number.isdigit():
            found[int(number)] = path
    if not found:
        raise InputError(f"{folder} is no {NAME} folder.", why=f"It has no frame_0000/{PICTURE}.", fix="Check --from.")
    return found


def _tracking(folder: Path, notes: list[str]) -> Path:
    """The tracker's file: in the folder or up to two folders below; the newest run's where there are several."""
    below = [path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}*.npz")]
    found = [path for path in below if not path.parent.name.startswith("frame_")]
    if not found:
        raise InputError(
            f"{folder} has no tracking.", why=f"Neither it nor a folder in it holds {TRACKING}.",
            fix="Copy that file of the tracker's into it.",
        )  # fmt: skip
    best = max(found, key=lambda path: (path.name == TRACKING, pictures.by_number(path.parent), str(path)))
    if found[1:]:
        notes.append(f"of {len(found)} trackings the one in {best.relative_to(folder)}")
    return best


def _split(folder: Path, numbers: list[int], notes: list[str]) -> tuple[set[int], set[int]]:
    """The frames to train on and those held out; frames in neither list belong to neither."""
    path = folder / "split.json"
    if not path.is_file():
        notes.append("there is no split.json, so it says nothing of what is held out")
        return set(numbers), set()
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        train, held = ({int(number) for number in table[key]} for key in ("train", "val"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is no split.", why="It should have two lists of frames' numbers, train and val.",
            fix="Mend it, or delete it.",
        ) from error  # fmt: skip
    if both := train & held:
        notes.append(f"{len(both)} frames are in both train and val of split.json, and are held out")
    if left := len(set(numbers) - train - held):
        notes.append(f"{left} tracked frames are in neither list of split.json, and are left out")
    return train - held, held


def _native(table: Mapping[str, Array], count: int, rows: list[int], path: Path) -> dict[str, Array]:
    """FLAME's own parameters of the chosen rows."""
    found = {"shape": np.asarray(take(table, "shape", path), np.float64).reshape(-1)}
    sizes = {"rotation": 3, "translation": 3, **{key: len(limits) for key, limits in LIMITS_DEG.items()}}
    for key, size in sizes.items():
        found[key] = matrix(take(table, key, path), (count, size), key, path)[rows]
    expr = np.asarray(take(table, "expr", path), np.float64)
    found["expr"] = matrix(expr, (count, expr.shape[-1] if expr.ndim else 0), "expr", path)[rows]
    return found | {key: limited(found[key], key) for key in LIMITS_DEG}


def _camera(table: Mapping[str, Array], first: Path, path: Path) -> Camera:
    height, width = pictures.read(first)[0].shape[:2]
    K = np.asarray(_of_camera(table, "K", path), np.float64)
    if K.shape == (3, 3):  # pixels
        fx, fy, cx, up = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    else:
        focal, x, y = matrix(K, (3,), "K", path)
        size = matrix(table.get("image_size", (height, width)), (2,), "image_size", path)
        fx, fy = focal * size.max() * np.array([width / size[1], height / size[0]])
        cx, up = x * width, y * height
    return Camera(pinhole(float(fx), float(fy), float(cx), float(height - up), path), width, height)


def _to_camera(table: Mapping[str, Array], path: Path) -> Array:
    """(4, 4) from the tracker's world to OpenCV camera space."""
    given = matrix(_of_camera(table, "RT", path), (3, 4), "RT", path)
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = given[:, :3].T, given[:, 3]
    return np.asarray(PYTORCH3D @ rigid)


def _of_camera(table: Mapping[str, Any], key: str, path: Path) -> Any:
    if key not in table:
        raise InputError(
            f"{path} has no camera ({key}).", why="It was tracked with cameras that were calibrated beforehand.",
            fix="Track it without --calibrated.",
        )  # fmt: skip
    return table[key]
