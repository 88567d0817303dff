"""A folder of numbered pictures: which they are, in which order, and what they hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.errors import InputError
from headavatar.scene import Array

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def by_number(path: Path) -> tuple[Any, ...]:
    """Sort key that puts 2.png before 10.png."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name))


def is_source(path: Path) -> bool:
    """Whether a path means pictures: a folder, or a pattern such as `images/*_08.png`."""
    return path.is_dir() or ("*" in path.name and path.parent.is_dir())


def has_any(folder: Path) -> bool:
    """Whether it is a folder with pictures in it."""
    return folder.is_dir() and any(file.suffix.lower() in SUFFIXES for file in folder.iterdir())


def listed(path: Path) -> list[Path]:
    """The pictures that a folder or a pattern means, in the order of their numbers.

    Raises:
        InputError: there are none.
    """
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, path.name)
    found = [file for file in folder.glob(pattern) if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not found:
        raise InputError(
            f"{path} is a folder without pictures.",
            why=f"Pictures end in {', '.join(SUFFIXES)}.",
            fix="Check the path.",
        )
    return sorted(found, key=by_number)


def read(path: Path) -> tuple[Array, Array | None]:
    """A picture and how much of each of its pixels is there.

    Returns:
        (H, W, 3) uint8 RGB, over white where it is transparent; and (H, W) uint8, None where nothing is transparent.
    Raises:
        InputError: it is missing or damaged.
    """
    import cv2

    data = np.frombuffer(path.read_bytes(), np.uint8) if path.is_file() else np.empty(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if image is None:
        raise InputError(f"{path} is missing or damaged.", why="No picture can be read from it.", fix="Copy it again.")
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, 2), None
    rgb = image[..., 2::-1]
    if image.shape[2] == 3:
        return np.ascontiguousarray(rgb), None
    alpha = image[..., 3]
    share = alpha[..., None].astype(np.float32) / 255
    return np.round(rgb * share + 255 * (1 - share)).astype(np.uint8), alpha


def coded(image: Array) -> tuple[Array, Array]:
    """The head and the whole person of a parsing picture in AD-NeRF's colors.

    Args:
        image: (H, W, 3) uint8 RGB, head (0, 0, 255), neck (0, 255, 0), torso (255, 0, 0); any other color is neither.
    Returns:
        (H, W) bool each.
    Source:
        Guo et al. 2021, "AD-NeRF: Audio Driven Neural Radiance Fields for Talking Head Synthesis".
    """
    head = (image == (0, 0, 255)).all(-1)
    return head, head | (image == (0, 255, 0)).all(-1) | (image == (255, 0, 0)).all(-1)


def save(path: Path, image: Array, matte: Array | None = None) -> None:
    """Write (H, W, 3) RGB or (H, W) uint8, with a matte as transparency."""
    import cv2

    stored = image[..., ::-1] if image.ndim == 3 else image
    if matte is not None:
        stored = np.concatenate([stored, matte[..., None]], -1)
    path.write_bytes(cv2.imencode(path.suffix, np.ascontiguousarray(stored))[1].tobytes())
