"""One fixed square of the picture for the whole clip, with room for hair above and neck below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headavatar.scene import Array

ROOM = {"left": 0.45, "right": 0.45, "top": 0.62, "bottom": 0.42}
"""How far the head reaches beyond the face's landmarks, in face heights."""


@dataclass(frozen=True)
class Crop:
    """A square of the upright picture; it may leave the picture.

    Attributes:
        x, y: its upper left corner, pixels, even numbers.
        side: its side, pixels, an even number.
        size: the side that it is scaled to, pixels.
    """

    x: int
    y: int
    side: int
    size: int

    def points(self, points: Array) -> Array:
        """Landmarks (…, 3) of the picture, pixels, in pixels of the crop; z is scaled alike."""
        scale = self.size / self.side
        return ((points - np.array([self.x, self.y, 0.0])) * scale).astype(np.float32)

    def valid(self, width: int, height: int) -> Array:
        """(size, size) bool: where the crop shows the picture of the given size and not what lies beyond it."""
        centers = (np.arange(self.size) + 0.5) * self.side / self.size
        margin = 1.0 * self.side / self.size  # the scaler's kernel mixes the border with what lies beyond
        columns = self._inside(centers + self.x, width, margin)
        rows = self._inside(centers + self.y, height, margin)
        return rows[:, None] & columns[None, :]

    def _inside(self, positions: Array, length: int, margin: float) -> Array:
        low = margin if positions[0] < 0 else 0.0
        high = length - margin if positions[-1] > length else length
        return (positions >= low) & (positions <= high)


def choose(points: Array, size: int) -> Crop:
    """Choose the square that holds nearly every frame's head.

    Args:
        points: (N, 478, 3) landmarks in pixels of the picture, frames with a face only.
        size: the side to scale to, pixels.
    """
    low, high = points[..., :2].min(1), points[..., :2].max(1)
    height = np.median(high[:, 1] - low[:, 1])
    left = np.percentile(low[:, 0], 1) - ROOM["left"] * height
    right = np.percentile(high[:, 0], 99) + ROOM["right"] * height
    top = np.percentile(low[:, 1], 1) - ROOM["top"] * height
    bottom = np.percentile(high[:, 1], 99) + ROOM["bottom"] * height
    side = 2 * int(np.ceil(max(right - left, bottom - top) / 2))
    x = 2 * round(((left + right) / 2 - side / 2) / 2)
    # where the head moves sideways more than up and down, the spare height shows neck and shoulders
    y = 2 * round(((top + bottom) / 2 - side / 2) / 2)
    return Crop(x, y, side, size)
