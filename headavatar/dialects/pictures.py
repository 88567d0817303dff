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


def pattern(path: Path) -> tuple[Path, str]:
    """A folder and which files in it a path means: all, those of `images/*_08.png`, or those of `frame_*/image.png`."""
    if "*" in path.parent.name:
        return path.parent.parent, f"{path.parent.name}/{path.name}"
    return (path.parent, path.name) if "*" in path.name else (path, "*")


def is_source(path: Path) -> bool:
    """Whether a path means pictures: a folder, or a pattern."""
    return pattern(path)[0].is_dir()


def label(file: Path, source: Path) -> str:
    """What tells a picture apart from the others of its source: its name, with its folder's where each has its own."""
    return f"{file.parent.name}/{file.name}" if "*" in source.parent.name else file.name


def stem(file: Path, source: Path) -> str:
    """What a picture shares with its mask: its name without suffix, or its folder's name where each has its own."""
    return file.parent.name if "*" in source.parent.name else file.stem


def has_any(folder: Path) -> bool:
    """Whether it is a folder with pictures in it."""
    return folder.is_dir() and any(file.suffix.lower() in SUFFIXES for file in folder.iterdir())


def listed(path: Path) -> list[Path]:
    """The pictures that a folder or a pattern means, in the order of their numbers.

    Raises:
        InputError: there are none.
    """
    folder, names = pattern(path)
    found = [file for file in folder.glob(names) if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not found:
        raise InputError(
            f"{path} is a folder without pictures.",
            why=f"Pictures end in {', '.join(SUFFIXES)}.",
            fix="Check the path.",
        )
    return sorted(found, key=lambda file: (by_number(file.parent), by_number(file)))


def read(path: Path) -> tuple[Array, Array | None]:
    """A picture and how much of each of its pixels is there.

    Returns:
        (H, W, 3) uint8 RGB, over white where it is transparent; and (H, W) uint8, None where nothing is transparent.
    Raises:
        InputError: it is missing or damaged.
    """
    image = _stored(path)
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


def ad_nerf(image: Array) -> tuple[Array, Array]:
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


def coded(path: Path, colors: str) -> tuple[Array, Array]:
    """The head and the whole person of a mask that tells them apart.

    Args:
        path: its file.
        colors: "parsing" for AD-NeRF's colors; "nineteen" for CelebAMask-HQ's classes as gray values of 8 or 16 bits:
            0 is background, 16 clothes, any other of the head or neck.
    Returns:
        (H, W) bool each.
    Raises:
        InputError: it is missing or damaged.
    Source:
        Lee et al. 2020, "MaskGAN: Towards Diverse and Interactive Facial Image Manipulation".
    """
    if colors == "parsing":
        return ad_nerf(read(path)[0])
    stored = _stored(path)
    classes = stored if stored.ndim == 2 else stored[..., 0]
    return (classes != 0) & (classes != 16), classes != 0


def _stored(path: Path) -> Array:
    """A file's pixels as they are stored, colors in the order BGR."""
    import cv2

    data = np.frombuffer(path.read_bytes(), np.uint8) if path.is_file() else np.empty(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if image is None:
        raise InputError(f"{path} is missing or damaged.", why="No picture can be read from it.", fix="Copy it again.")
    return np.asarray(image)


def save(path: Path, image: Array, matte: Array | None = None) -> None:
    """Write (H, W, 3) RGB or (H, W) uint8, with a matte as transparency."""
    import cv2

    stored = image[..., ::-1] if image.ndim == 3 else image
    if matte is not None:
        stored = np.concatenate([stored, matte[..., None]], -1)
    path.write_bytes(cv2.imencode(path.suffix, np.ascontiguousarray(stored))[1].tobytes())
