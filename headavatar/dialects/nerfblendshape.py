"""NeRFBlendShape's data set: the head stands still, the camera moves; expressions are 46 weights without names.

    transforms.json   h w fx fy cx cy; frames: img_id, exp_ori, transform_matrix (camera to world)
    ori_imgs/N.jpg, N.lms   the frame and MediaPipe's 478 points      head_imgs/N.jpg   the head on the plate bc.jpg
    parsing/N.png     AD-NeRF's colors: head (0, 0, 255), neck (0, 255, 0), torso (255, 0, 0)
    max_46.txt, min_46.txt   what coefficients are clamped to: their range over the training frames

`transform_matrix` has OpenGL's axes (x right, y up, z backward). Its reader multiplies translations by 0.33, turns the
axes around (x, y, z → y, z, x) and looks inside a box of half side 0.06; the unit of length is nobody's, since one
camera cannot tell how large a head is. Rays go through whole pixel numbers, so a pixel's center is at +0. Frames are in
the order of img_id, and the last 500 are the test. Only the first 46 of exp_ori count.

Source: Gao et al. 2022, "Reconstructing Personalized Semantic Facial NeRF Models From Monocular Video", and what its
released program reads; Guo et al. 2021, "AD-NeRF", for the colors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headavatar.dialects import pictures
from headavatar.dialects.files import matrix, pinhole, read_json, take
from headavatar.dialects.recording import Coefficients, Imported, SkullPoses
from headavatar.errors import InputError
from headavatar.scene import ARKIT_NAMES, Array, Camera

NAME = "nerfblendshape"
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
READER_SCALE = 0.33
READER_BOUND = 0.06
READER_AXES: Array = np.roll(np.eye(3), -1, axis=0)
"""(x, y, z) → (y, z, x), a rotation."""
PIXEL_CENTER = 0.5
"""What is added to its pixel coordinates to get ours."""
COEFFICIENTS = 46
TEST_FRAMES = 500
LEAST_BLUE = 0.005
"""A parsing picture in whose colors less of the picture is head shows something else, or was stored with loss."""


def read(folder: Path) -> Imported:
    """Read a folder.

    Raises:
        InputError: it is not of this layout, or damaged.
    """
    path = folder / "transforms.json"
    table = read_json(path, NAME)
    rows = sorted(table["frames"], key=lambda row: _number(row, path))
    notes: list[str] = []
    room, found = _pictures(folder, rows, path)
    if len(found) < len(rows):
        notes.append(f"{len(rows) - len(found)} of its {len(rows)} frames have no picture in {room}")
    if room != "ori_imgs":
        notes.append("there are no whole pictures (ori_imgs), so the head alone, on its plate, is taken")
    held = held_out(len(rows))
    coefficients = _coefficients(folder, rows, held, table, path, notes)
    kept = np.array([_number(row, path) in found for row in rows])
    rows = [row for row, keep in zip(rows, kept, strict=True) if keep]
    files = tuple(found[_number(row, path)] for row in rows)
    masks = _masks(folder, files, notes)
    points = tuple(file.with_suffix(".lms") for file in files)
    space = None
    if "head_to_space" in table:  # written by our own export
        space = matrix(table["head_to_space"], (4, 4), "head_to_space", path)
    return Imported(
        dialect=NAME, pictures=files, camera=_camera(table, files[0], path),
        poses=_poses(rows, path), native=_native(rows, path), held_out=held[kept],
        masks=masks, mask_colors="parsing" if masks else "matte",
        points=points if all(file.is_file() for file in points) else (),
        coefficients=coefficients[np.flatnonzero(kept)], metric=False, space=space, notes=tuple(notes),
    )  # fmt: skip


def held_out(frames: int) -> Array:
    """(T,) bool: the last 500 frames, as the authors have it; of a clip that is too short for that, the last fifth."""
    count = TEST_FRAMES if frames >= 2 * TEST_FRAMES else round(frames / 5)
    return np.arange(frames) >= frames - count


def _number(row: dict[str, Any], path: Path) -> int:
    value = str(take(row, "img_id", path))
    if not (value.isascii() and value.isdigit()):
        raise InputError(f"{path} has a frame {value!r}.", why="Frames are numbered: img_id is a whole number.")
    return int(value)


def _pictures(folder: Path, rows: list[dict[str, Any]], path: Path) -> tuple[str, dict[int, Path]]:
    """The room whose pictures show the most frames, the whole ones where both are complete, and these by number."""
    wanted = {_number(row, path) for row in rows}
    if len(wanted) < len(rows):
        raise InputError(f"{path} has several frames of one number.", fix="Give every frame an img_id of its own.")
    best: tuple[str, dict[int, Path]] = ("", {})
    for room in ("ori_imgs", "head_imgs"):
        files = pictures.listed(folder / room) if pictures.has_any(folder / room) else []
        named = {int(file.stem): file for file in files if file.stem.isascii() and file.stem.isdigit()}
        here = {number: file for number, file in named.items() if number in wanted}
        if len(here) > len(best[1]):
            best = (room, here)
    if not best[1]:
        raise InputError(
            f"{folder} has no pictures of its frames.",
            why="Looked for ori_imgs/NUMBER.jpg and head_imgs/NUMBER.jpg, or .png.",
            fix="Unpack the whole data set.",
        )
    return best


def _masks(folder: Path, files: tuple[Path, ...], notes: list[str]) -> tuple[Path, ...]:
    """Parsing pictures, where every picture in the folder has one and they are in the colors."""
    room = folder / "parsing"
    if not pictures.has_any(room):
        notes.append("there is no parsing, so networks find the head")
        return ()
    by_stem = {file.stem: file for file in pictures.listed(room)}
    missing = [file.name for file in pictures.listed(files[0].parent) if file.stem not in by_stem]
    if missing:
        notes.append(f"parsing misses {len(missing)} pictures, such as {missing[0]}, so networks find the head")
        return ()
    head, _ = pictures.ad_nerf(pictures.read(by_stem[files[len(files) // 2].stem])[0])
    if head.mean() < LEAST_BLUE:
        notes.append("parsing shows no head in pure blue, so networks find the head")
        return ()
    return tuple(by_stem[file.stem] for file in files)


def _camera(table: dict[str, Any], first: Path, path: Path) -> Camera:
    height, width = pictures.read(first)[0].shape[:2]
    keys = ("fx", "fy", "cx", "cy", "w", "h")
    fx, fy, cx, cy, w, h = matrix([take(table, key, path) for key in keys], (6,), ", ".join(keys), path)
    x, y = width / w, height / h  # pictures are sometimes made smaller after the table was written
    return Camera(
        pinhole(fx * x, fy * y, (cx + PIXEL_CENTER) * x, (cy + PIXEL_CENTER) * y, path), width, height
    )  # fmt: skip


def _poses(rows: list[dict[str, Any]], path: Path) -> SkullPoses:
    """Where the head is."""
    to_world = np.stack([matrix(take(row, "transform_matrix", path), (4, 4), "transform_matrix", path) for row in rows])
    turn = to_world[:, :3, :3]
    off = np.abs(turn @ np.swapaxes(turn, 1, 2) - np.eye(3)).max(axis=(1, 2))
    if off.max() > 0.02 or np.linalg.det(turn).min() < 0:
        raise InputError(
            f"{path}: the transform_matrix of frame {rows[int(off.argmax())]['img_id']} is no rigid motion.",
            why="Its first three columns are not axes at right angles.", fix="Write the folder again.",
        )  # fmt: skip
    still = SkullPoses.rigid(np.broadcast_to(np.eye(3), turn.shape), np.zeros((len(rows), 3)))
    return still.seen_by(OPENGL @ np.linalg.inv(to_world))


def _native(rows: list[dict[str, Any]], path: Path) -> dict[str, Array]:
    """All of ARKit's expressions, where our own export wrote them beside the 46."""
    if not all("exp_52" in row for row in rows):
        return {}
    return {"arkit": np.stack([matrix(row["exp_52"], (len(ARKIT_NAMES),), "exp_52", path) for row in rows])}


def _coefficients(
    folder: Path, rows: list[dict[str, Any]], held: Array, table: dict[str, Any], path: Path, notes: list[str]
) -> Coefficients:
    names = tuple(str(name) for name in table.get("exp_names", ()))
    lengths = {len(value) if isinstance(value := take(row, "exp_ori", path), list) else 0 for row in rows}
    count = int(table.get("basis_num", min(COEFFICIENTS, min(lengths))))
    if count <= 0 or min(lengths) < count or len(names) not in (0, count):
        raise InputError(
            f"{path} has frames with {min(lengths)} coefficients in exp_ori.",
            why=f"Others have {max(lengths)}; a list of numbers is needed, as long in every frame.",
            fix="Write the folder again.",
        )
    values = np.stack([matrix(row["exp_ori"][:count], (count,), "exp_ori", path) for row in rows])
    low, high = values[~held].min(0), values[~held].max(0)
    limits = [_limits(folder / f"{name}_{count}.txt", count) for name in ("min", "max")]
    if limits[0] is not None and limits[1] is not None:
        low, high = limits[0], limits[1]
    else:
        notes.append(
            f"coefficients are clamped to what its training frames show: no max_{count}.txt and min_{count}.txt"
        )
    if (low > high).any():
        raise InputError(f"{folder} says of coefficient {int((low > high).argmax())} that its least is above its most.")
    return Coefficients(values, low, high, names if set(names) <= set(ARKIT_NAMES) else ())


def _limits(path: Path, count: int) -> Array | None:
    """(count,) numbers of a text file; None where there is none, or it is of something else."""
    try:
        values = np.array(path.read_text(encoding="utf-8").split(), np.float64)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read.", why=str(error).splitlines()[0]) from error
    return values[:count] if len(values) >= count and np.isfinite(values[:count]).all() else None
