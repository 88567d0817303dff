"""From where training saw the head, and how a field is asked for colors from anywhere else.

Colors answer to the direction of sight by a network that is a guess where no frame looked from: skin turns green or
pale a few degrees on. So a picture from outside takes its colors as the nearest direction within would show them. All
its rays turn together, so that a picture has no seams, and within training's range nothing is touched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from scipy.spatial import ConvexHull

from ... import ops
from ...scene import Array
from .field import HARMONICS, Field

MARGIN_RAD = 0.01
"""Directions this near to one of training count as trained: tracking knows them no better, radians."""
FACING = 1e-9
"""Directions are opposite, or the same, where sine or cosine are within this of their limits."""


@dataclass(frozen=True)
class TrainedViews:
    """Directions from the middle of the cube to the eye that training covered: a convex patch of the sphere.

    Attributes:
        middle: (3,) unit vector, in the cube's axes.
        outline: (N, 2) corners of the patch, counterclockwise: a direction's angle from the middle, radians, along the
            two axes across it, see `place`.
    """

    middle: Array
    outline: Array

    @staticmethod
    def of(origins: Array) -> TrainedViews:
        """The views of a sequence, from its camera centers (T, 3) in cube units."""
        toward = _unit(np.asarray(origins, np.float64) - 0.5)
        views = TrainedViews(_unit(toward.mean(0)), np.zeros((0, 2)))
        corners = MARGIN_RAD * np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        places = (np.array([views.place(one) for one in toward])[:, None] + corners).reshape(-1, 2)
        return replace(views, outline=places[ConvexHull(places).vertices])

    def place(self, toward: Array) -> Array:
        """(2,) where a (3,) unit direction lies: as far from 0 as its angle to the middle, radians."""
        across = self._axes @ toward
        length = float(np.linalg.norm(across))
        angle = float(np.arctan2(length, float(self.middle @ toward)))
        aside = across / length if length > FACING else np.array([1.0, 0.0])  # behind, any side is as near
        found: Array = aside * angle
        return found

    def nearest(self, toward: Array) -> Array:
        """(3,) the unit direction within training's range that is nearest to a (3,) unit direction."""
        place = self.place(toward)
        edges = np.roll(self.outline, -1, axis=0) - self.outline
        offset = place - self.outline
        if (edges[:, 0] * offset[:, 1] >= edges[:, 1] * offset[:, 0]).all():
            return toward
        share = np.clip((offset * edges).sum(1) / (edges**2).sum(1), 0, 1)
        candidates = self.outline + share[:, None] * edges
        chosen = candidates[((candidates - place) ** 2).sum(1).argmin()]
        angle = float(np.linalg.norm(chosen))
        direction: Array = self.middle * np.cos(angle) + self._axes.T @ chosen * (np.sin(angle) / max(angle, 1e-12))
        return direction

    def beyond(self, origin: Array) -> float:
        """How far the direction to an eye at `origin`, (3,) in cube units, lies from training's, radians; 0 within."""
        toward = _unit(np.asarray(origin, np.float64) - 0.5)
        trained = self.nearest(toward)
        return 0.0 if trained is toward else float(np.arccos(np.clip(toward @ trained, -1, 1)))

    def seen(self, field: Field, origin: Array) -> Field:
        """The field as an eye at `origin`, (3,) in cube units, is shown it: itself within training's range.

        Elsewhere its color network takes directions turned to the nearest that training covered. Harmonics of turned
        directions are a product of those of the directions with a matrix, which goes into the network's first layer.
        """
        toward = _unit(np.asarray(origin, np.float64) - 0.5)
        trained = self.nearest(toward)
        if trained is toward:
            return field
        first = field.color_weights[0]
        bands = HARMONICS**2
        turned = torch.as_tensor(turned_harmonics(_turn(toward, trained)), dtype=first.dtype, device=first.device)
        views = first[:, -bands:] @ turned
        return replace(field, color_weights=[torch.cat([first[:, :-bands], views], 1), *field.color_weights[1:]])

    @cached_property
    def _axes(self) -> Array:
        """(2, 3) unit vectors across the middle."""
        right = _unit(np.cross(np.eye(3)[int(np.abs(self.middle).argmin())], self.middle))
        return np.stack([right, np.cross(self.middle, right)])

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"middle": self.middle.tolist(), "outline": self.outline.tolist()}

    @staticmethod
    def from_state(state: dict[str, Any]) -> TrainedViews:
        """What `state` gave."""
        return TrainedViews(np.asarray(state["middle"], np.float64), np.asarray(state["outline"], np.float64))


def turned_harmonics(rotation: Array) -> Array:
    """(B, B) what harmonics of a direction are multiplied by to give those of the turned direction, B = HARMONICS².

    Args:
        rotation: (3, 3).
    Source:
        bands of spherical harmonics are closed under rotation; solved for on directions that determine it.
    """
    directions, inverse = _probes()
    turned = ops.spherical_harmonics(torch.from_numpy(directions @ rotation.T), HARMONICS).numpy()
    found: Array = (inverse @ turned).T
    return found


@cache
def _probes() -> tuple[Array, Array]:
    """(n, 3) directions, even over the sphere, and the (B, n) pseudo-inverse of their harmonics."""
    count = 4 * HARMONICS**2
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    directions = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], 1)
    return directions, np.linalg.pinv(ops.spherical_harmonics(torch.from_numpy(directions), HARMONICS).numpy())


def _turn(start: Array, end: Array) -> Array:
    """(3, 3) the shortest rotation between two unit vectors."""
    axis, cosine = np.cross(start, end), float(start @ end)
    if cosine < FACING - 1:  # any half turn does
        aside = _unit(np.cross(start, np.eye(3)[int(np.abs(start).argmin())]))
        half: Array = 2 * np.outer(aside, aside) - np.eye(3)
        return half
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: Array = np.eye(3) + cross + cross @ cross / (1 + cosine)
    return turned


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return unit
