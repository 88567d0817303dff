"""One fixed square of the picture for the whole clip, with room for hair above and neck below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headavatar.scene import Array

ROOM = {"side": 0.36, "top": 0.52, "bottom": 0.36}
"""How far head and neck reach beyond the face's landmarks, in face heights."""


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


def choose(points: Array, size: int, picture: tuple[int, int]) -> Crop:
    """Choose the square that holds nearly every frame's head, inside the picture as far as it fits.

    Args:
        points: (N, 478, 3) landmarks in pixels of the picture, frames with a face only.
        size: the side to scale to, pixels.
        picture: (width, height), pixels.
    """
    low, high = points[..., :2].min(1), points[..., :2].max(1)
    height = float(np.median(high[:, 1] - low[:, 1]))
    start = np.percentile(low, 1, axis=0) - height * np.array([ROOM["side"], ROOM["top"]])
    end = np.percentile(high, 99, axis=0) + height * np.array([ROOM["side"], ROOM["bottom"]])
    start, end = np.clip(start, 0, picture), np.clip(end, 0, picture)
    side = 2 * int(np.ceil((end - start).max() / 2))
    corner = []
    for axis in range(2):
        middle = (start[axis] + end[axis] - side) / 2
        spare = picture[axis] - side
        middle = min(max(middle, 0.0), spare) if spare >= 0 else spare / 2
        corner.append(2 * round(middle / 2))
    return Crop(corner[0], corner[1], side, size)
