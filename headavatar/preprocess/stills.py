"""Reads pictures in a folder as if they were a video, in the order of their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from headavatar.dialects import pictures
from headavatar.errors import InputError
from headavatar.scene import Array

CODEC = "pictures"
"""What stands for a codec's name where the video is a folder of pictures."""


@dataclass(frozen=True)
class Selection:
    """Which frames to take: from `start_s`, every `every`-th, at most `max_frames` (0: all)."""

    start_s: float = 0.0
    every: int = 1
    max_frames: int = 0


def facts(path: Path) -> tuple[int, int, int]:
    """Width and height of the first picture, pixels, and how many there are."""
    files = pictures.listed(path)
    height, width = pictures.read(files[0])[0].shape[:2]
    return width, height, len(files)


def selected(path: Path, fps: float, selection: Selection) -> list[tuple[float, Path]]:
    """Time in seconds and file of the pictures that a selection takes."""
    files = list(enumerate(pictures.listed(path)))[round(selection.start_s * fps) :: selection.every]
    files = files[: selection.max_frames] if selection.max_frames else files
    if not files:
        raise InputError(
            f"not one picture of {path} is taken", why="fewer pictures than --start skips", fix="start earlier"
        )
    return [(number / fps, file) for number, file in files]


def read_frames(
    path: Path, fps: float, selection: Selection, size: tuple[int, int], window: tuple[int, int, int] | None = None
) -> Iterator[tuple[float, Array]]:
    """The selected pictures; arguments and results as of `decode.read_frames`, what is transparent over white."""
    first: tuple[int, ...] | None = None
    for time_s, file in selected(path, fps, selection):
        rgb, _ = pictures.read(file)
        first = first or rgb.shape
        if rgb.shape != first:
            raise InputError(
                f"{file.name} has another size than the pictures before it.",
                why=f"{rgb.shape[1]} × {rgb.shape[0]} pixels instead of {first[1]} × {first[0]}.",
                fix="Put pictures of one size into the folder.",
            )
        yield time_s, _fitted(rgb, size, window)


def read_mattes(
    path: Path, masks: Path | None, fps: float, selection: Selection, size: tuple[int, int],
    window: tuple[int, int, int], colors: str = "matte",
) -> Iterator[tuple[Array, Array | None]]:  # fmt: skip
    """The mattes that belong to the selected pictures.

    Args:
        path, fps, selection, size, window: as for `read_frames`.
        masks: folder of pictures with the same names, or None for the pictures' own transparency.
        colors: "matte", or how the masks tell head and clothes apart, see `pictures.coded`.
    Yields:
        (H, W) float32 in [0, 1], the person, and how much of the person is head, where the masks tell.
    Raises:
        InputError: one is missing.
    """
    by_stem = {pictures.stem(file, masks): file for file in pictures.listed(masks)} if masks else {}
    for _, file in selected(path, fps, selection):
        mask = by_stem.get(pictures.stem(file, path))
        missing = f"{masks} has no mask for {pictures.label(file, path)}."
        if masks is None:
            matte = pictures.read(file)[1]
            missing = f"{file.name} has no transparency, unlike the first of the pictures."
        elif colors == "matte" or mask is None:
            matte = pictures.read(mask)[0] if mask else None
        else:
            head, person = (
                _fitted(part.astype(np.uint8) * 255, size, window).astype(np.float32) / 255
                for part in pictures.coded(mask, colors)
            )
            yield person, np.clip(head / np.maximum(person, 1 / 255), 0, 1)
            continue
        if matte is None:
            raise InputError(missing, why="Either all pictures have a mask or none.", fix="Leave the masks out.")
        matte = matte if matte.ndim == 2 else matte[..., 0]
        yield _fitted(matte, size, window).astype(np.float32) / 255, None


def _fitted(image: Array, size: tuple[int, int], window: tuple[int, int, int] | None) -> Array:
    """Cut out a square that may leave the picture, where it is 0, and scale to (width, height)."""
    if window:
        x, y, side = window
        cut = np.zeros((side, side, *image.shape[2:]), np.uint8)
        height, width = image.shape[:2]
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
        cut[top - y : bottom - y, left - x : right - x] = image[top:bottom, left:right]
        image = cut
    if image.shape[1::-1] == size:
        return image
    shrinks = size[0] < image.shape[1]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4))


def has_mattes(path: Path) -> bool:
    """Whether the pictures say by their transparency what is in them."""
    alpha = pictures.read(pictures.listed(path)[0])[1]
    return alpha is not None and int(alpha.min()) < 255
