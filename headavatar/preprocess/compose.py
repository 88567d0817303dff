"""Third pass: raw mattes and head shares become the final mattes, steady over time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from headavatar.preprocess.masks import head_matte
from headavatar.preprocess.steady import REACH, steadied
from headavatar.progress import Reporter
from headavatar.scene import Array
from headavatar.workspace import atomic, layout
from headavatar.workspace.clips import read_image


def compose(partial: Path, points: Array, detected: Array, valid: Array, workers: int, reporter: Reporter) -> None:
    """Write `mattes` and `head_mattes` beside the raw ones.

    Args:
        partial: folder with frames, raw_mattes and raw_heads.
        points: (N, 478, 3) landmarks in pixels of the crop.
        detected: (N,) bool.
        valid: (size, size) bool; mattes are 0 elsewhere.
        workers: threads.
        reporter: progress.
    """
    count = len(points)

    def one(index: int) -> int:
        name = layout.frame_name(index)
        targets = [partial / folder / name for folder in ("mattes", "head_mattes")]
        if not all(target.exists() for target in targets):
            near = list(range(max(0, index - REACH), min(count, index + REACH + 1)))
            frames = [read_image(partial / "frames" / layout.frame_name(j)) for j in near]
            masks = [
                [read_image(partial / folder / layout.frame_name(j), gray=True) for j in near]
                for folder in ("raw_mattes", "raw_heads")
            ]
            matte, share = steadied(frames, masks, near.index(index))
            head = head_matte(matte, share, points[index] if detected[index] else None)
            for target, picture in zip(targets, (matte, head), strict=True):
                atomic.write_image(target, np.round(picture * valid * 255).astype(np.uint8), sync=False)
        return 1

    with reporter.task("steady mattes", count) as task, ThreadPoolExecutor(workers) as pool:
        for done in pool.map(one, range(count)):
            task.advance(done)
