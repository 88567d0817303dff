"""Reading other programs' files: what is missing or odd becomes a message, and no path leads out of the folder."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from headavatar.errors import InputError
from headavatar.scene import Array


def read_json(path: Path, dialect: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: it is missing or is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path.parent} is no {dialect} folder.", why=f"It has no {path.name}.",
            fix="Name the folder that holds it, or another layout with --from.",
        ) from None  # fmt: skip
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read.", why=str(error), fix="Write the folder again.") from error
    if not isinstance(value, dict) or not isinstance(value.get("frames"), list) or not value["frames"]:
        raise InputError(f"{path} lists no frames.", why=f"A {dialect} folder has a list named frames.")
    return value


def take(row: Mapping[str, Any], key: str, path: Path) -> Any:
    """A value that must be there.

    Raises:
        InputError: it is not.
    """
    if key not in row:
        raise InputError(
            f"{path} has a frame or head without {key}.", why=f"It has {', '.join(sorted(row)[:12])}.",
            fix="Is this another layout? Choose it with --from.",
        )  # fmt: skip
    return row[key]


def matrix(value: Any, shape: tuple[int, ...], what: str, path: Path) -> Array:
    """Numbers of a given shape.

    Raises:
        InputError: they are none, or of another shape, or not finite.
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.full(0, np.nan)
    if array.shape != shape or not np.isfinite(array).all():
        raise InputError(f"{path}: {what} is not {' × '.join(map(str, shape))} finite numbers.")
    return array


def inside(folder: Path, relative: str) -> Path:
    """The file that a relative path in a folder's own listing means.

    Raises:
        InputError: it leads out of the folder.
    """
    parts = PurePosixPath(str(relative).replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise InputError(f"{folder.name} names the file {relative}.", why="It lies outside of the folder.")
    return folder / parts


def read_npz(path: Path) -> dict[str, Array]:
    """Arrays of an npz; what is pickled in it is refused.

    Raises:
        InputError: missing, damaged, or holding more than plain arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read.", why=str(error), fix="Write the folder again.") from error


def read_vertices(path: Path) -> Array:
    """(V, 3) vertices of a Wavefront OBJ.

    Raises:
        InputError: it has none.
    """
    try:
        rows = [line.split()[1:4] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("v ")]
        return np.array(rows, np.float64).reshape(-1, 3)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no mesh.", why=str(error), fix="Copy the folder again.") from error


def read_points(path: Path) -> Array:
    """(N, 2) points of a text file, one in a line.

    Raises:
        InputError: it holds something else.
    """
    try:
        points = np.array([line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()])
        values = points.astype(np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no points.", why=str(error).splitlines()[0]) from error
    if values.ndim != 2 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise InputError(f"{path} holds no points.", why="Each line should hold two numbers.")
    return values[:, :2]


def pinhole(fx: float, fy: float, cx: float, cy: float, path: Path) -> Array:
    """(3, 3) intrinsics with one focal length.

    Raises:
        InputError: the pixels are not square.
    """
    if min(fx, fy) <= 0 or abs(fx / fy - 1) > 0.01:
        raise InputError(
            f"{path} has focal lengths of {fx:.1f} and {fy:.1f} pixels.",
            why="They must be positive and equal: pixels are square here.",
            fix="Check --from; or resize the pictures so that pixels are square, and track them again.",
        )
    focal = (fx + fy) / 2
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])
