"""Second pass: the crop of every frame is decoded at its final size, and goes through matting and parsing.

Frames go out in blocks to threads, each with networks of its own on one core; a block that is done is on disk and is
not done again. Only a few blocks are in memory at a time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from headavatar.preprocess import decode, stills
from headavatar.preprocess.crop import Crop
from headavatar.preprocess.masks import head_share
from headavatar.preprocess.matting import MATTING, Matting
from headavatar.preprocess.parsing import Parsing, SelfieMulticlass
from headavatar.preprocess.settings import PreprocessSettings
from headavatar.progress import Reporter
from headavatar.scene import Array
from headavatar.workspace import atomic, layout

BLOCK = 16
MADE = ("crops", "parsing", "raw_mattes", "raw_heads")

Given = tuple[Array, Array | None]
"""A person's matte that came with the pictures, and how much of the person is head, where that came too."""


class Worker:
    """One thread's networks.

    Args:
        settings: which networks.
        models: catalog name → file.
    """

    def __init__(self, settings: PreprocessSettings, models: dict[str, Path]) -> None:
        name, kind = MATTING[settings.matting]
        self.matting: Matting = kind(models[name])
        self.parsing: Parsing
        if settings.parsing == "nineteen":
            from headavatar.preprocess.bisenet import Nineteen

            self.parsing = Nineteen(models["bisenet"], models["selfie_multiclass"])
        else:
            self.parsing = SelfieMulticlass(models["selfie_multiclass"])

    def block(
        self, first: int, frames: list[Array], warmup: list[Array], given: list[Given], points: Array, partial: Path
    ) -> int:
        """Make and save mattes, where none are given, and parsing of consecutive frames; returns how many."""
        mattes: list[Given] = given or [(matte, None) for matte in self.matting.run(frames, warmup)]
        for i, (frame, (matte, share)) in enumerate(zip(frames, mattes, strict=True)):
            here = points[first + i] if np.isfinite(points[first + i, 0, 0]) else None
            probabilities = self.parsing.run(frame, here)
            name = layout.frame_name(first + i)
            share = head_share(probabilities, matte, here) if share is None else share
            pictures = (frame, probabilities.argmax(-1), matte * 255, share * 255)
            for folder, picture in zip(MADE, pictures, strict=True):
                atomic.write_image(partial / folder / name, np.round(picture).astype(np.uint8), sync=False)
        return len(frames)


def run(
    video: Path, info: decode.VideoInfo, selection: decode.Selection, square: Crop, valid: Array, points: Array,
    settings: PreprocessSettings, models: dict[str, Path], partial: Path, workers: int, reporter: Reporter,
) -> None:  # fmt: skip
    """Make raw mattes, parsing and the crops in `partial`.

    Args:
        video, info, selection: what to read.
        square: the clip's crop.
        valid: (size, size) bool, where the crop shows the picture.
        points: (N, 478, 3) landmarks of the frames that the scan saw, in pixels of the crop, NaN where none.
        settings, models: which networks.
        partial: where to write.
        workers: threads.
        reporter: progress.
    """
    local = threading.local()
    count = len(points)

    def work(first: int, frames: list[Array], warmup: list[Array], given: list[Given]) -> int:
        if not hasattr(local, "worker"):
            local.worker = Worker(settings, models)
        return int(local.worker.block(first, frames, warmup, given, points, partial))

    window = (square.x, square.y, square.side)
    decoded = decode.read_frames(video, info, selection, (square.size, square.size), window)
    frames = (extend_edges(frame, valid) for _, frame in islice(decoded, count))
    mattes = given_mattes(video, info, selection, square, settings)
    warm: deque[Array] = deque(maxlen=MATTING[settings.matting][1].warmup)
    running: deque[Future[int]] = deque()
    with reporter.task("mattes and parsing", count) as task, ThreadPoolExecutor(workers) as pool:
        first = 0
        while block := list(islice(frames, BLOCK)):
            given = list(islice(mattes, len(block)))
            if _is_done(partial, first, len(block)):
                task.advance(len(block))
            else:
                running.append(pool.submit(work, first, block, list(warm), given))
            warm.extend(block)
            first += len(block)
            if len(running) > workers:
                task.advance(running.popleft().result())
        for future in running:
            task.advance(future.result())


def given_mattes(
    video: Path, info: decode.VideoInfo, selection: decode.Selection, square: Crop, settings: PreprocessSettings
) -> Iterator[Given]:
    """Mattes that came with a folder of pictures, in crops; nothing where a network has to find them."""
    masks = Path(settings.masks) if settings.masks else None
    if info.codec != stills.CODEC or (masks is None and not stills.has_mattes(video)):
        return iter(())
    size, window = (square.size, square.size), (square.x, square.y, square.side)
    return stills.read_mattes(video, masks, info.fps, selection, size, window, settings.mask_colors)


def extend_edges(frame: Array, valid: Array) -> Array:
    """Continue the picture beyond its edge with the edge's own colours, which networks take better than black."""
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    if (top, left) == (0, 0) and (bottom, right) == frame.shape[:2]:
        return frame
    height, width = frame.shape[:2]
    inside = np.ascontiguousarray(frame[top:bottom, left:right])
    extended: Any = cv2.copyMakeBorder(inside, top, height - bottom, left, width - right, cv2.BORDER_REPLICATE)
    return np.asarray(extended)


def _is_done(partial: Path, first: int, count: int) -> bool:
    names = [layout.frame_name(first + i) for i in range(count)]
    return all((partial / folder / name).exists() for folder in MADE for name in names)
