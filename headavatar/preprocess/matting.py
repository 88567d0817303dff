"""The person's matte: how much of each pixel is the person.

Each network is a class with `run(frames, warmup)`; `MATTING` names them. One instance belongs to one thread and uses
one core, so results do not depend on how many cores there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from headavatar.preprocess.runtimes import LiteModel, onnx_session
from headavatar.scene import Array

MODNET_SIDES = {256: 256, 512: 384}
"""Crop side → side of MODNet's input: it sees heads well at less than its 512, in a fraction of the time."""


class Matting(Protocol):
    """A matting network.

    Attributes:
        warmup: frames before a run that it wants to see, 0 where every frame stands for itself.
    """

    warmup: int

    def run(self, frames: Sequence[Array], warmup: Sequence[Array]) -> list[Array]:
        """Mattes of consecutive frames.

        Args:
            frames: (H, W, 3) uint8 RGB each.
            warmup: the frames before them, oldest first; results don't include them.
        Returns:
            (H, W) float32 in [0, 1] each.
        """


class ModNet:
    """MODNet: frame by frame, good hair.

    Source: Ke et al., MODNet: Real-Time Trimap-Free Portrait Matting via Objective Decomposition, AAAI 2022.
    """

    warmup = 0

    def __init__(self, model: Path) -> None:
        self.session = onnx_session(model)

    def run(self, frames: Sequence[Array], warmup: Sequence[Array]) -> list[Array]:
        mattes = []
        for frame in frames:
            side = MODNET_SIDES[frame.shape[0]]
            image = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 127.5 - 1
            (alpha,) = self.session.run(None, {"input": image.transpose(2, 0, 1)[None]})
            mattes.append(_to_size(alpha[0, 0], frame))
        return mattes


class RobustVideoMatting:
    """RVM: recurrent, steadier and tighter at the edge.

    Source: Lin et al., Robust High-Resolution Video Matting with Temporal Guidance, WACV 2022.
    """

    warmup = 8

    def __init__(self, model: Path) -> None:
        self.session = onnx_session(model)

    def run(self, frames: Sequence[Array], warmup: Sequence[Array]) -> list[Array]:
        state: list[Any] = [np.zeros((1, 1, 1, 1), np.float32)] * 4
        mattes = []
        for frame in (*warmup, *frames):
            image = frame.astype(np.float32).transpose(2, 0, 1)[None] / 255
            inputs = {"src": image, "downsample_ratio": np.array([256 / frame.shape[0]], np.float32)}
            inputs.update({f"r{i + 1}i": value for i, value in enumerate(state)})
            _, alpha, *state = self.session.run(None, inputs)
            mattes.append(alpha[0, 0])
        return mattes[len(warmup) :]


class SelfieSegmenter:
    """MediaPipe's selfie segmenter: fast, and coarse at hair."""

    warmup = 0

    def __init__(self, model: Path) -> None:
        self.model = LiteModel(model)

    def run(self, frames: Sequence[Array], warmup: Sequence[Array]) -> list[Array]:
        return [_to_size(self.model(_unit(frame, 256))[..., 0], frame) for frame in frames]


MATTING: dict[str, tuple[str, Any]] = {
    "modnet": ("modnet", ModNet),
    "rvm": ("rvm", RobustVideoMatting),
    "selfie": ("selfie_segmenter", SelfieSegmenter),
}
"""Setting → (catalog name, class)."""


def _unit(frame: Array, side: int) -> Array:
    return cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _to_size(alpha: Array, frame: Array) -> Array:
    resized = cv2.resize(alpha, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.clip(resized, 0, 1)
