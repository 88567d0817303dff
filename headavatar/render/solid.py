"""An avatar drawn by its surface: it holds together where a field that was fitted to few poses falls apart."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from headavatar import ops
from headavatar.errors import UsageError
from headavatar.methods.base import Avatar, HasMesh, HasSurface
from headavatar.render.cameras import Shot
from headavatar.scene import Array, Camera, HeadParams, RenderOutput, Surface

VOXEL_M = 0.0015
FINER = 2
"""Pixels are drawn this much smaller and averaged."""


class Solid:
    """Draws the colored mesh of an avatar's face, which is made once.

    Args:
        avatar: of a method that has surfaces.
        rest: one frame (T = 1): the face, and the head's pose that its surface and colors are taken at.
        seen_from: (N, 3) where training's cameras stood, head space, metres.
    Raises:
        UsageError: the method has none.
    """

    def __init__(self, avatar: Avatar, rest: HeadParams, seen_from: Array) -> None:
        if not isinstance(avatar, HasSurface):
            drawn = "It is a mesh, and drawn as one" if isinstance(avatar, HasMesh) else "It gives pictures only"
            raise UsageError(
                f"An avatar of {avatar.method} has no surface to be drawn by.", why=f"{drawn}.",
                fix="Leave out --look surface.",
            )  # fmt: skip
        self.avatar, self.rest, self.seen_from = avatar, rest, seen_from
        self._surface: Surface | None = None

    def render(self, shot: Shot, background: tuple[float, float, float]) -> RenderOutput:
        """One picture of the resting face that was given, from anywhere.

        Args:
            shot: camera, and where the head stands.
            background: RGB in [0, 1].
        """
        if self._surface is None:
            self._surface = self.avatar.surface(self.rest, self.seen_from, VOXEL_M)
        surface, camera = self._surface, shot.camera
        fine = camera.scaled(camera.width * FINER, camera.height * FINER)
        pose = shot.head_to_world
        pixels, depth = fine.project(surface.vertices @ pose[:3, :3].T + pose[:3, 3])
        placed = torch.from_numpy(np.concatenate([pixels, depth[:, None]], 1).astype(np.float32))
        faces = torch.from_numpy(surface.faces)
        seen = ops.rasterize(placed, faces, fine.height, fine.width)
        rgb = ops.interpolate(torch.from_numpy(surface.colors), faces, seen).numpy()
        mask = seen.mask.numpy().astype(np.float32)
        alpha = _averaged(mask, camera)
        distance = _averaged(seen.depth.numpy(), camera) / np.maximum(alpha, 1e-6)
        normal = _normals(surface, pose, camera)
        facing = ops.interpolate(torch.from_numpy(normal), faces, seen).numpy()
        return RenderOutput(
            (_averaged(rgb, camera) + (1 - alpha[..., None]) * np.asarray(background, np.float32)).clip(0, 1), alpha,
            np.where(alpha > 0, distance, 0).astype(np.float32), lambda: _unit(_averaged(facing, camera)),
        )  # fmt: skip


def _averaged(picture: Array, camera: Camera) -> Array:
    return np.asarray(cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA), np.float32)


def _normals(surface: Surface, pose: Array, camera: Camera) -> Array:
    """(V, 3) float32 of the mesh, in camera space."""
    corners = surface.vertices[surface.faces].astype(np.float64)
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros(surface.vertices.shape)
    for corner in range(3):
        np.add.at(total, surface.faces[:, corner], flat)
    turned: Array = _unit(total @ (camera.world_to_camera[:3, :3] @ pose[:3, :3]).T)
    return turned


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 0, vectors / np.maximum(length, 1e-20), 0.0).astype(np.float32)
