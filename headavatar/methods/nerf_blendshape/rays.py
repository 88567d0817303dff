"""Rays through pixels, in the unit cube around the head.

The cube is fixed to the head: a point of head space h (metres) lies at axes (h - center) / side + 1/2. A frame's rigid
pose carries the camera there, so one occupancy grid serves every frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ... import ops
from ...scene import Array, Camera, HeadParams


@dataclass(frozen=True)
class Cube:
    """The part of head space that is modelled.

    Attributes:
        center: (3,) metres, head space.
        side: edge, metres.
        axes: (3, 3) rotation from head space to the cube; nothing for a cube that stands as the head does. An avatar
            of another program has its own: what is hashed by coordinates cannot be turned.
    """

    center: Array
    side: float
    axes: Array = field(default_factory=lambda: np.eye(3))

    def to_unit(self, points: Array) -> Array:
        """(…, 3) head space to the unit cube."""
        return (points - self.center) @ self.axes.T / self.side + 0.5

    def to_head(self, points: Array) -> Array:
        """(…, 3) unit cube to head space."""
        return (points - 0.5) * self.side @ self.axes + self.center


def rotation_matrices(vectors: Array) -> Array:
    """(T, 3) axis-angle to (T, 3, 3), by Rodrigues' formula in double precision."""
    vectors = np.asarray(vectors, np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[:, None, None]
    x, y, z = (vectors / np.maximum(angle[..., 0], 1e-12)).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    matrices: Array = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return matrices


def head_to_camera(params: HeadParams, camera: Camera) -> tuple[Array, Array]:
    """Rigid transforms from head to camera space: (T, 3, 3) rotations and (T, 3) translations, metres."""
    rotation = rotation_matrices(params.rotation)
    world = np.asarray(camera.world_to_camera, np.float64)
    return world[:3, :3] @ rotation, params.translation.astype(np.float64) @ world[:3, :3].T + world[:3, 3]


def in_sight(corners: Array | None, params: HeadParams, camera: Camera) -> tuple[int, int, int, int]:
    """The pixels within the rectangle that a box's corners are projected to.

    Args:
        corners: (N, 3) head space, metres; None of nothing.
        params: of one frame.
        camera: any.
    Returns:
        first and last column and row: x0, y0, x1, y1, the last two exclusive.
    """
    if corners is None:
        return 0, 0, 0, 0
    rotation, translation = head_to_camera(params, camera)
    local = corners @ rotation[0].T + translation[0]
    if (local[:, 2] <= 0).all():
        return 0, 0, 0, 0
    if not (local[:, 2] > 0.01).all():
        return 0, 0, camera.width, camera.height
    projected = local @ camera.K.T
    u, v = projected[:, 0] / projected[:, 2], projected[:, 1] / projected[:, 2]
    x0, x1 = np.clip([np.floor(u.min()), np.ceil(u.max())], 0, camera.width).astype(int).tolist()
    y0, y1 = np.clip([np.floor(v.min()), np.ceil(v.max())], 0, camera.height).astype(int).tolist()
    return x0, y0, x1, y1


@dataclass(frozen=True)
class RayFrames:
    """What turns pixels of T frames into rays in the cube.

    Attributes:
        origins: (T, 3) camera centers in cube units.
        turns: (T, 3, 3) maps a pixel (u, v, 1) to a direction in cube axes, of length 1 along the camera's z.
    """

    origins: torch.Tensor
    turns: torch.Tensor

    @staticmethod
    def of(params: HeadParams, camera: Camera, cube: Cube, device: str = "cpu") -> RayFrames:
        """The rays of a sequence under one camera."""
        rotation, translation = head_to_camera(params, camera)
        to_head = rotation.transpose(0, 2, 1)
        origins = cube.to_unit(-np.einsum("tij,tj->ti", to_head, translation))
        turns = cube.axes @ to_head @ np.linalg.inv(np.asarray(camera.K, np.float64))
        as_tensor = lambda a: torch.as_tensor(a, dtype=torch.float32, device=device)  # noqa: E731
        return RayFrames(as_tensor(origins), as_tensor(turns))

    def rays(self, frame: int, pixels: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rays of one frame's pixels.

        Args:
            frame: position in the sequence.
            pixels: (R,) flat indices, row by row.
            width: of the image.
        Returns:
            origins (R, 3) in cube units, unit directions (R, 3), and (R,) length along the ray per unit of camera z.
        """
        u = (pixels % width).to(torch.float32) + 0.5
        v = torch.div(pixels, width, rounding_mode="floor").to(torch.float32) + 0.5
        turn = self.turns[frame]
        directions = u[:, None] * turn[:, 0] + v[:, None] * turn[:, 1] + turn[:, 2]
        length = directions.norm(dim=1)
        return self.origins[frame].expand(len(pixels), 3), directions / length[:, None], length

    def rectangle(self, frame: int, x0: int, y0: int, x1: int, y1: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rays of the pixels of a rectangle, whose origin is `origins[frame]`.

        Args:
            frame: position in the sequence.
            x0, y0, x1, y1: columns and rows, x1 and y1 exclusive.
        Returns:
            unit directions (rows, columns, 3), and (rows, columns) length along the ray per unit of camera z.
        """
        return ops.pixel_rays(self.turns[frame], x0, y0, x1 - x0, y1 - y0)
