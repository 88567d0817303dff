"""What each pixel of the crop is: hair, skin, clothes, something else, or background.

Each network gives probabilities of `PARSING_CLASSES`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from headavatar.preprocess.runtimes import LiteModel
from headavatar.scene import Array


class Parsing(Protocol):
    """A parsing network."""

    def run(self, frame: Array, points: Array | None) -> Array:
        """Probabilities of `PARSING_CLASSES`.

        Args:
            frame: (H, W, 3) uint8 RGB.
            points: (478, 3) landmarks in its pixels, or None.
        Returns:
            (H, W, 6) float32.
        """


class SelfieMulticlass:
    """MediaPipe's selfie multiclass segmenter, whose six classes are `PARSING_CLASSES`."""

    def __init__(self, model: Path) -> None:
        self.model = LiteModel(model)

    def run(self, frame: Array, points: Array | None) -> Array:
        image = cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        logits = self.model(image)
        exp = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities = exp / exp.sum(-1, keepdims=True)
        return cv2.resize(probabilities, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_LINEAR)
