"""From a fitted head to its proxy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from ... import ops
from ...scene import PARSING_CLASSES, Array, Clip, HeadParams
from . import proxy_colors, proxy_shape, strands
from .occupancy import scalp_vertices
from .proxy import Proxy
from .sightings import Sightings, fitted
from .standoff import measured

BULK_M = 0.03
"""What stands off the tracked mesh further than this, metres, is hair."""
BARE = 0.2
"""A scalp of which no more than this share was seen to be hair has none."""


@dataclass(frozen=True)
class Skull:
    """The tracked head inside an avatar, and what shows of its hair.

    Attributes:
        points: (V, 3) at rest, head space, metres.
        faces: (F, 3).
        scalp: (V,) bool, where hair grows.
        chin_y: height of the chin, metres.
        frames: (n,) positions of training frames that differ.
        hair: (n, H, W) bool, their pixels that show hair.
    """

    points: Array
    faces: Array
    scalp: Array
    chin_y: float
    frames: Array
    hair: Array

    @staticmethod
    def of(head: Any, points: Array, chin_y: float, clip: Clip, frames: Array) -> Skull:
        """Of a head model with its (V, 3) points, in a clip."""
        label, train = PARSING_CLASSES.index("hair"), clip.split.train
        hair = np.stack([np.asarray(clip.parsing[int(train[frame])]) == label for frame in frames])
        return Skull(points, head.faces.cpu().numpy(), scalp_vertices(head), chin_y, frames, hair)


def proxy_of(
    occupied: torch.Tensor, seen: Sightings, mattes: Array, params: HeadParams, skull: Skull
) -> Proxy | None:  # fmt: skip
    """The sides and back of a fitted head; None where nothing of it stands.

    Args:
        occupied: (G, G, G) bool, where its field holds something.
        seen: its pictures of the frames that `skull` names.
        mattes: (n, H, W) uint8 of these frames.
        params: of these frames.
        skull: what stands inside.
    """
    cube, grid, end_y = seen.cube, occupied.shape[0], float(skull.points[:, 1].min())
    half = slice(None, None, 2)  # of the frames: outlines hardly differ between neighbors
    standoff = measured(
        skull.points, skull.faces, skull.scalp, cube, grid, fitted(mattes[half], seen.camera), seen.counted[half],
        params[half], seen.camera,
    )  # fmt: skip
    vertices, faces = proxy_shape.mesh(proxy_shape.solid(standoff, seen, skull.chin_y, end_y))
    if len(faces) == 0:
        return None
    points = cube.to_head(vertices)
    normals = ops.vertex_normals(torch.from_numpy(points).float()[None], torch.from_numpy(faces))[0].numpy()
    hair = fitted(skull.hair, seen.camera)
    shown = proxy_colors.seen_colors(vertices, normals, hair, seen)
    away, nearest = cKDTree(skull.points).query(points)
    hairy = skull.scalp[nearest] | (away > BULK_M)
    bare = (shown.hair * shown.trust)[hairy].sum() <= BARE * shown.trust[hairy].sum()
    kinds = [(1 - shown.hair, ~hairy), (1 - shown.hair if bare else shown.hair, hairy)]
    told = proxy_colors.spread(np.concatenate([shown.colors, shown.hair[:, None]], 1), shown.trust, faces, kinds)
    colors, unseen_hair = told[:, :3], told[:, 3].clip(0, 1) * (1 - shown.trust)
    streaks = strands.laid(points, skull.points[skull.scalp].mean(0), strands.amount(hair, seen) * unseen_hair)
    shows = proxy_shape.trusted(occupied, cube, vertices, proxy_colors.evened(shown.trust, faces), end_y)
    as_tensor = lambda a: torch.from_numpy(a).to(occupied.device)  # noqa: E731
    return Proxy(
        as_tensor(vertices), as_tensor(faces), as_tensor(colors.astype(np.float32)), shows,
        as_tensor(shown.light.astype(np.float32)), as_tensor(streaks),
    )  # fmt: skip
