"""The texture's layout: skin with one seam at the back, eyes, the mouth's inside, teeth, tongue and lashes."""

from __future__ import annotations

import numpy as np

from headavatar.head.build.flatten import boundary_loops, flatten
from headavatar.head.store import triangulate
from headavatar.scene import Array

# Left, bottom, width and height of each island's box in the atlas.
_BOXES = {
    "skin": (0.0, 0.0, 0.84, 0.84),
    "eye_left": (0.84, 0.68, 0.16, 0.16),
    "eye_right": (0.84, 0.52, 0.16, 0.16),
    "tongue": (0.84, 0.34, 0.16, 0.18),
    "lashes": (0.84, 0.0, 0.16, 0.34),
    "mouth_interior": (0.0, 0.84, 0.28, 0.16),
    "teeth_upper": (0.28, 0.84, 0.36, 0.16),
    "teeth_lower": (0.64, 0.84, 0.36, 0.16),
}
_MARGIN = 0.003
_DENSITY = {"scalp": 0.35, "neck": 0.35, "ears": 0.5, "face": 1.0, "eyelids": 1.5, "lips": 1.5}
_HIDDEN_DENSITY = 0.2


def layout(template: Array, quads: Array, masks: dict[str, Array], own: Array) -> tuple[Array, Array]:
    """Lay out the atlas.

    Args:
        template: (V, 3) mean head.
        quads: (Q, 4); a triangle repeats its last corner.
        masks: its regions.
        own: (Q, 4, 2) layout that eyeballs, teeth, tongue and lashes bring along, in any scale.
    Returns:
        uvs (U, 2) in [0, 1], v up, and uv_quads (Q, 4).
    """
    corners = np.zeros((len(quads), 4, 2))
    islands = _islands(quads, masks)
    for name, chosen in islands.items():
        made = name in ("skin", "mouth_interior")
        flat = _flat(name, quads[chosen], template, masks) if made else own[chosen]
        corners[chosen] = _fill(flat, _BOXES[name])
    keys = np.concatenate([quads.reshape(-1, 1), np.round(corners.reshape(-1, 2) * 1e6)], 1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return corners.reshape(-1, 2)[first], inverse.reshape(quads.shape)


def _islands(quads: Array, masks: dict[str, Array]) -> dict[str, Array]:
    """Island -> its faces."""
    faces = {name: masks[name][quads].all(1) for name in _BOXES if name in masks}
    faces["skin"] = ~np.any(list(faces.values()), 0)
    return {name: np.flatnonzero(chosen) for name, chosen in faces.items()}


def _flat(name: str, quads: Array, template: Array, masks: dict[str, Array]) -> Array:
    """(Q, 4, 2) an island of skin laid flat."""
    source, local = np.unique(quads, return_inverse=True)
    local = local.reshape(quads.shape)
    wanted = np.full(len(template), _HIDDEN_DENSITY)
    for region, value in _DENSITY.items():
        wanted[masks[region]] = value
    wanted[masks["mouth_interior"]] = 1.0
    if name == "skin":
        local, source = _cut_open(local, source, template)
    faces = triangulate(local)
    positions = template[source]
    border = np.array(boundary_loops(faces)[0])
    middle = border[np.abs(positions[border, 0]) < 1e-5]
    if name == "skin":
        start = middle[positions[middle, 2].argmax()]
    else:
        start = middle[positions[middle, 1].argmin()]
    flat = flatten(positions, faces, wanted[source][faces].mean(1), int(start), 4.0 if name == "skin" else 2.5)
    return flat[local]


def _cut_open(quads: Array, source: Array, template: Array) -> tuple[Array, Array]:
    """Part the skin along the back's midline, from the neck's rim to the crown; the right side gets new vertices."""
    points = template[source]
    crown = points[:, 1].argmax()
    seam = np.flatnonzero((np.abs(points[:, 0]) < 1e-5) & (points[:, 2] < points[crown, 2] - 1e-4))
    twin = np.arange(len(source))
    twin[seam] = len(source) + np.arange(len(seam))
    right = points[quads][..., 0].mean(1) < 0
    quads = np.where(right[:, None], twin[quads], quads)
    return quads, np.concatenate([source, source[seam]])


def _fill(flat: Array, box: tuple[float, float, float, float]) -> Array:
    """Stretch an island over its box, but for a margin that keeps neighbors from bleeding in."""
    low, high = flat.reshape(-1, 2).min(0), flat.reshape(-1, 2).max(0)
    corner, size = np.array(box[:2]) + _MARGIN, np.array(box[2:]) - 2 * _MARGIN
    return corner + (flat - low) / (high - low) * size
