"""MakeHuman's ARKit face units, corrected: folds smoothed, lids that meet, both sides mirror images of each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headavatar.head.build.frontview import walk_border
from headavatar.scene import ARKIT_NAMES, Array

# Rounds of smoothing of a shape's displacements: with and without the lips themselves.
_SMOOTHED = {
    "mouthSmileLeft": (6, False), "mouthSmileRight": (6, False), "cheekPuff": (6, False), "mouthFunnel": (5, True),
    "mouthLeft": (3, False), "mouthRight": (3, False), "jawOpen": (2, False), "mouthClose": (2, False),
}  # fmt: skip
_LID_OVERLAP = 0.0012
"""How far a closed upper lid covers the lower one, metres: identities with larger eyes still close them."""


@dataclass(frozen=True)
class Face:
    """What the corrections need to know of the head.

    Attributes:
        template: (V, 3) mean head. faces: (F, 3). mirror: (V,).
        masks: the regions.
        eye_centers: (2, 3) left, right.
    """

    template: Array
    faces: Array
    mirror: Array
    masks: dict[str, Array]
    eye_centers: Array


def corrected(raw: Array, face: Face) -> Array:
    """Correct all shapes.

    Args:
        raw: (52, V, 3) displacements, order of `ARKIT_NAMES`.
        face: the head they act on.
    """
    shapes = raw.copy()
    for name, (rounds, lips) in _SMOOTHED.items():
        k = ARKIT_NAMES.index(name)
        shapes[k] = _smooth(shapes[k], face, rounds, lips)
    shapes = _symmetric(shapes, face.mirror)
    left, right = ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")
    shapes[left] = _meeting_lids(shapes[left], face)
    shapes[right] = shapes[left][face.mirror] * [-1, 1, 1]
    return shapes


def twin(name: str) -> str:
    """The other side's shape, or the shape itself."""
    if name.endswith("Left"):
        return name[:-4] + "Right"
    return name[:-5] + "Left" if name.endswith("Right") else name


def _symmetric(shapes: Array, mirror: Array) -> Array:
    others = [ARKIT_NAMES.index(twin(name)) for name in ARKIT_NAMES]
    return 0.5 * (shapes + shapes[others][:, mirror] * [-1, 1, 1])


def _smooth(shape: Array, face: Face, rounds: int, lips: bool) -> Array:
    """Replace each vertex's displacement by its neighborhood's mean: folds soften, the surface's detail stays.

    The largest displacement is restored afterwards. Lids, mouth cavity and, if asked, lips keep theirs.
    """
    frozen = face.masks["eyelids"] | face.masks["ears"] | face.masks["teeth"] | face.masks["tongue"]
    frozen = frozen | face.masks["lashes"] | face.masks["eyes"]
    if not lips:
        frozen = frozen | face.masks["lips"] | face.masks["mouth_interior"]
    edges = np.concatenate([face.faces[:, [0, 1]], face.faces[:, [1, 2]], face.faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    result = shape.copy()
    degree = np.bincount(edges.ravel(), minlength=len(shape))[:, None]
    for _ in range(rounds):
        total = np.zeros_like(result)
        np.add.at(total, edges[:, 0], result[edges[:, 1]])
        np.add.at(total, edges[:, 1], result[edges[:, 0]])
        result = np.where(frozen[:, None], shape, 0.5 * result + 0.5 * total / np.maximum(degree, 1))
    if lips:
        result *= np.linalg.norm(shape, axis=1).max() / np.linalg.norm(result, axis=1).max()
    return result


def _meeting_lids(shape: Array, face: Face) -> Array:
    """Scale the left eye's blink, column by column, so that the upper lid ends just over the lower one."""
    is_eye = np.asarray(face.masks["eyes"][face.faces].all(1))
    center = face.eye_centers[0][:2]
    places, points = walk_border(face.template, face.faces, face.masks["lashes"], center, is_eye, 2.5)
    moves = np.array([weights @ shape[face.faces[triangle]] for triangle, weights in places])
    x, y, dy = points[:, 0], points[:, 1], moves[:, 1]
    corner = 0.5 * (y[x.argmin()] + y[x.argmax()])
    chord = np.interp(x, [x.min(), x.max()], [y[x.argmin()], y[x.argmax()]])
    upper = y > np.maximum(chord, corner - 1)
    low, high = np.quantile(x, [0.12, 0.88])
    grid = np.linspace(float(low), float(high), 40)

    def column(side: Array, values: Array) -> Array:
        order = np.argsort(x[side])
        return np.interp(grid, x[side][order], values[side][order])

    gap = column(upper, y) - column(~upper, y) + _LID_OVERLAP
    travel = column(~upper, dy) - column(upper, dy)
    # Where the lids travel far their ratio is sure; a parabola carries it to the corners.
    fit = np.polynomial.Polynomial.fit(grid, gap / travel, 2, w=np.sqrt(travel))
    scale = fit(np.clip(face.template[:, 0], grid[0], grid[-1]))
    return shape * scale[:, None]
