"""How much of the face something hides, frame by frame: a hand, a cup, hair blown across.

The landmarks go on where they believe the face to be, so the picture can be unrolled by them onto one small chart of
the face, the same for every frame. What most frames show at a place of the chart is the face; where a frame shows
another color, or parsing calls it something else, and does so in one piece, something is in front.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import Delaunay

from headavatar.head import HeadModel
from headavatar.head.landmarks import EYES, IRISES, LIPS, LIPS_INNER
from headavatar.scene import PARSING_CLASSES, Array
from headavatar.track.frames import Frames
from headavatar.workers import in_order

SIDE = 48
"""Texels along the chart's longer side."""
SAMPLES = 160
"""Frames, evenly taken, that say what the face looks like."""
_RADIUS_M = 0.09
_FACING = 0.35
"""Cosine to the camera below which the surface is too slanted to compare."""
_TOE = 0.08
_SPREAD_FLOOR = 0.07
_DEVIATIONS = 5.0
"""Spreads of a place's brightness, in logarithms, beyond which it shows something else."""
_FOREIGN = tuple(PARSING_CLASSES.index(name) for name in ("background", "body_skin", "clothes", "other"))
_USUAL_SHARE = 0.25
"""A class that a place shows in more than this share of the frames is the face's own there: glasses, a fringe."""
_OPENING = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Chart:
    """A flat, fixed layout of the face's skin.

    Attributes:
        corners: (P, 3) landmarks around each texel.
        barycentric: (P, 3) place among them.
        where: (P,) the texel's position in the flattened chart.
        shape: of the chart.
    """

    corners: Array
    barycentric: Array
    where: Array
    shape: tuple[int, int]

    @staticmethod
    def of(head: HeadModel) -> Chart:
        """Unroll the mean head's landmarks about the vertical axis; eyes and mouth, which move, are left out."""
        points = head.landmark_points(head.template[None])[0].double().numpy()
        flat = np.stack([np.arctan2(points[:, 0], points[:, 2]) * _RADIUS_M, -points[:, 1]], 1)
        skin = np.setdiff1d(np.arange(len(points)), IRISES)
        low, high = flat[skin].min(0), flat[skin].max(0)
        step = (high - low).max() / SIDE
        columns, rows = np.ceil((high - low) / step).astype(int)
        grid = low + (np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2) + 0.5) * step
        mesh = Delaunay(flat[skin])
        triangle = mesh.find_simplex(grid)
        corners = skin[mesh.simplices[triangle]]
        moving = np.isin(corners, EYES).all(1) | np.isin(corners, LIPS_INNER).all(1) | np.isin(corners, LIPS).all(1)
        inside = np.flatnonzero((triangle >= 0) & ~moving)
        transform = mesh.transform[triangle[inside]]
        two = np.einsum("pij,pj->pi", transform[:, :2], grid[inside] - transform[:, 2])
        barycentric = np.concatenate([two, 1 - two.sum(1, keepdims=True)], 1)
        return Chart(corners[inside], barycentric, inside, (int(rows), int(columns)))

    def unrolled(self, image: Array, parsing: Array, valid: Array, landmarks: Array) -> tuple[Array, Array]:
        """Read one frame.

        Args:
            image: (S, S, 3) uint8. parsing: (S, S) uint8. valid: (S, S) bool.
            landmarks: (478, 3) in pixels of the image.
        Returns:
            logarithms of the colors (P, 3), NaN where the frame cannot tell, and classes (P,).
        """
        size = len(image)
        around = landmarks[self.corners]  # (P, 3 corners, 3)
        across = np.cross(around[:, 1] - around[:, 0], around[:, 2] - around[:, 0])
        facing = np.abs(across[:, 2]) / np.maximum(np.linalg.norm(across, axis=1), 1e-9)
        at = np.einsum("pk,pkc->pc", self.barycentric, around[..., :2])
        pixel = np.floor(at).astype(int)
        inside = ((pixel >= 0) & (pixel < size)).all(1)
        column, row = pixel.clip(0, size - 1).T
        tone = np.log(cv2.GaussianBlur(image, (0, 0), 1.0)[row, column] / 255 + _TOE)
        tone[~(inside & (facing > _FACING) & valid[row, column])] = np.nan
        return tone, parsing[row, column]

    def largest_piece(self, marked: Array) -> int:
        """Texels of the largest connected piece of what is marked (P,), thin lines left out."""
        picture = np.zeros(self.shape[0] * self.shape[1], np.uint8)
        picture[self.where[marked]] = 1
        opened = cv2.morphologyEx(picture.reshape(self.shape), cv2.MORPH_OPEN, _OPENING)
        _, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
        return int(stats[1:, cv2.CC_STAT_AREA].max(initial=0))


def hidden_shares(head: HeadModel, images: Frames, parsing: Frames, valid: Array, landmarks: Array) -> Array:
    """How much of the visible face something hides.

    Args:
        head: the head model, for the layout of the landmarks.
        images: (T, S, S, 3) uint8. parsing: (T, S, S) uint8. valid: (S, S) bool.
        landmarks: (T, 478, 3) in pixels of the images.
    Returns:
        (T,) shares in [0, 1].
    """
    chart = Chart.of(head)

    def read(frame: int) -> tuple[Array, Array]:
        return chart.unrolled(images[frame], parsing[frame], valid, landmarks[frame])

    chosen = np.unique(np.linspace(0, len(images) - 1, SAMPLES).round().astype(int))
    usual = _Usual.of(*(np.stack(part) for part in zip(*(read(int(i)) for i in chosen), strict=True)))

    def share(frame: int) -> float:
        tone, classes = read(frame)
        seen = np.isfinite(tone[:, 0])
        return chart.largest_piece(usual.unlike(tone, classes) & seen) / int(seen.sum()) if seen.any() else 0.0

    return np.array(list(in_order(share, range(len(images)))))


@dataclass(frozen=True)
class _Usual:
    """What frames mostly show at each texel: tone (P, 3), its spread (P,), and which classes are at home (P, 6)."""

    tone: Array
    spread: Array
    at_home: Array

    @staticmethod
    def of(tones: Array, classes: Array) -> _Usual:
        seen = np.isfinite(tones[..., 0])
        tones = np.where(seen[..., None], tones, np.nan)
        middle = _median(tones, seen)
        for _ in range(2):  # each frame's exposure evened out
            tones = tones - np.stack([_exposure(tone, middle) for tone in tones])[:, None]
            middle = _median(tones, seen)
        spread = 1.4826 * _median(np.abs(tones - middle).max(-1, keepdims=True), seen)[:, 0]
        share = np.stack([((classes == k) & seen).sum(0) for k in range(len(PARSING_CLASSES))], 1)
        at_home = share > _USUAL_SHARE * np.maximum(seen.sum(0), 1)[:, None]
        return _Usual(middle, np.maximum(spread, _SPREAD_FLOOR), at_home)

    def unlike(self, tone: Array, classes: Array) -> Array:
        """(P,) bool: where a frame's tone or class is not the face's."""
        known = np.isfinite(self.tone[:, 0]) & np.isfinite(tone[:, 0])
        off = np.abs(tone - _exposure(tone, self.tone) - self.tone).max(-1)
        strange = np.isin(classes, _FOREIGN) & ~self.at_home[np.arange(len(classes)), classes]
        return known & ((off > _DEVIATIONS * self.spread) | strange)


def _median(values: Array, seen: Array) -> Array:
    """(P, C) median over frames of (T, P, C) values where (T, P) seen; NaN where no frame saw."""
    middle = np.full(values.shape[1:], np.nan)
    some = seen.any(0)
    middle[some] = np.nanmedian(values[:, some], axis=0)
    return middle


def _exposure(tone: Array, usual: Array) -> Array:
    """(3,) how much brighter a frame is than usual, over most of the face."""
    difference = tone - usual
    difference = difference[np.isfinite(difference[:, 0])]
    return np.median(difference, axis=0) if len(difference) else np.zeros(3)
