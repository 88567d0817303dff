"""What fits are timed with: a clip of noise, so without anybody's face, and the memory that they take."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..scene import Array, Camera, Clip, HeadParams, Split

IDENTITY = 100
"""Coefficients of the embedded head."""


class _Pictures:
    """T pictures that are cut out of one, wherever they are read."""

    def __init__(self, count: int, whole: Array, size: int) -> None:
        self.count, self.whole, self.size = count, whole, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        spare = len(self.whole) - self.size + 1
        y, x = int(index) * 7 % spare, int(index) * 13 % spare
        return self.whole[y : y + self.size, x : x + self.size]


def made_up_clip(frames: int, size: int, expressions: int) -> Clip:
    """A clip of noise within an ellipse where the head is, of which some expressions move."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:size, :size] / size - 0.5
    matte = np.where((u / 0.26) ** 2 + (v / 0.36) ** 2 < 1, 255, 0).astype(np.uint8)
    params = HeadParams.neutral(frames, np.zeros(IDENTITY, np.float32))
    params.expression[:, :expressions] = rng.uniform(0, 0.8, (frames, expressions))
    params.rotation[:] = rng.normal(0, 0.1, (frames, 3))
    params.translation[:] = (0.0, 0.0, -0.6)
    camera = Camera(np.array([[1.6 * size, 0, size / 2], [0, 1.6 * size, size / 2], [0, 0, 1.0]]), size, size)
    times = np.arange(frames) / 25
    noise = rng.integers(0, 256, (size + 64, size + 64, 3), np.uint8)
    return Clip(
        _Pictures(frames, noise, size), _Pictures(frames, matte, size), _Pictures(frames, matte // 85, size),  # type: ignore[arg-type]
        rng.uniform(0.3 * size, 0.7 * size, (frames, 478, 3)), camera, params, times, np.arange(frames),
        np.ones((size, size), bool), Split.blocks(times),
    )  # fmt: skip


def peak_megabytes() -> float:
    """The most memory that this program has had resident; what the program that started it had does not count."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) / 2**10
    import resource  # its figure is handed down to programs that a process starts, where the system is Linux

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
