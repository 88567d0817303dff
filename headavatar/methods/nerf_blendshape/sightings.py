"""What training frames show of a fitted head: its own pictures of them, and where points lie in these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...scene import Array, Camera, HeadParams
from .geometry import facing_of
from .rays import Cube, head_to_camera
from .warp import carried

if TYPE_CHECKING:
    from .avatar import NerfBlendshapeAvatar


LOOK_PX = 256
"""Pictures are no larger than this along an edge: what is asked of them are voxels."""


def shrunk(camera: Camera) -> Camera:
    """The same view in a picture of at most `LOOK_PX` along its longer edge."""
    share = min(1.0, LOOK_PX / max(camera.width, camera.height))
    return camera if share == 1 else camera.scaled(round(share * camera.width), round(share * camera.height))


def fitted(maps: Array, camera: Camera) -> Array:
    """(n, h, w) maps (n, H, W) in the size of a camera's pictures: each pixel's is that of the nearest."""
    rows, columns = (
        (np.arange(size) * 2 + 1) * full // (2 * size)
        for size, full in zip((camera.height, camera.width), maps.shape[1:], strict=True)
    )
    found: Array = maps[:, rows[:, None], columns]
    return found


@dataclass(frozen=True)
class Glance:
    """What one picture says of N points.

    Attributes:
        index: (M,) the points that fall on counted pixels, and (M,) those pixels, flat.
        frame: which picture it is.
        behind: (M,) metres along z that each lies behind what is seen there.
        facing: (M,) cosine between the line of sight and the surface's normal there, 0 where no surface is.
        alpha: (M,) and rgb (M, 3) over black, of the pixels.
        toward: (M, 3) unit vectors from the points to the eye, head space.
    """

    index: Array
    pixels: Array
    frame: int
    behind: Array
    facing: Array
    alpha: Array
    rgb: Array
    toward: Array


@dataclass(frozen=True)
class Sightings:
    """Pictures that an avatar gives of frames.

    Attributes:
        rotation, translation: (n, 3, 3) and (n, 3), from head to camera, metres.
        camera: of the pictures.
        counted: (n, H, W) bool, false outside the real picture and where clothes hide the head.
        depth, alpha, facing: (n, H, W), see `RenderOutput` and `geometry.facing_of`.
        rgb: (n, H, W, 3) over black.
        cube: the modelled cube.
        warps: (n, nodes³ · 4) what each frame's points are moved by; None where nothing moves.
    """

    rotation: Array
    translation: Array
    camera: Camera
    counted: Array
    depth: Array
    alpha: Array
    facing: Array
    rgb: Array
    cube: Cube
    warps: torch.Tensor | None

    @staticmethod
    def of(avatar: NerfBlendshapeAvatar, params: HeadParams, camera: Camera, counted: Array) -> Sightings:
        """Look at (n,) frames as an avatar has them; `counted` (n, H, W) may be of larger pictures."""
        camera = shrunk(camera)
        seen = [avatar.render(params[frame], camera, (0.0, 0.0, 0.0)) for frame in range(len(params))]
        depth, alpha, rgb = (np.stack([getattr(one, name) for one in seen]) for name in ("depth", "alpha", "rgb"))
        facing = np.stack([facing_of(one.depth, one.alpha, camera) for one in seen])
        warps = [avatar.moved_by(params[frame]) for frame in range(len(params))]
        known = [one for one in warps if one is not None]
        return Sightings(
            *head_to_camera(params, camera), camera, fitted(counted, camera), depth, alpha, facing, rgb, avatar.cube,
            torch.cat(known) if known else None,
        )  # fmt: skip

    def where(self, counted: Array) -> Sightings:
        """The same pictures, asked only where (n, H, W) pixels of theirs or of larger ones are `counted`, bool."""
        return replace(self, counted=fitted(counted, self.camera))

    def of_voxels(self, places: Array) -> Iterator[Glance]:
        """What each picture says of (N, 3) places of the cube, which stay where they are."""
        points = self.cube.to_head(places)
        for frame in range(len(self.rotation)):
            yield self._glance(frame, points)

    def of_points(self, places: Array) -> Iterator[Glance]:
        """What each picture says of (N, 3) places of the neutral head in the cube, which move as the head does."""
        unit = torch.from_numpy(np.ascontiguousarray(places, np.float32))
        for frame in range(len(self.rotation)):
            moved = unit if self.warps is None else carried(unit.to(self.warps.device), self.warps[frame])
            yield self._glance(frame, self.cube.to_head(moved.cpu().numpy()))

    def _glance(self, frame: int, points: Array) -> Glance:
        height, width = self.counted.shape[1:]
        turn, shift = self.rotation[frame], self.translation[frame]
        points = points.astype(np.float32)
        K = np.asarray(self.camera.K)
        local = points @ (K @ turn).T.astype(np.float32) + (K @ shift).astype(np.float32)
        z = np.maximum(local[:, 2], 1e-6)
        u, v = np.floor(local[:, 0] / z).astype(np.int32), np.floor(local[:, 1] / z).astype(np.int32)
        index = np.flatnonzero((u >= 0) & (u < width) & (v >= 0) & (v < height) & (local[:, 2] > 0))
        pixels = v[index] * width + u[index]
        counts = self.counted[frame].reshape(-1)[pixels]
        index, pixels = index[counts], pixels[counts]
        toward = (-turn.T @ shift).astype(np.float32) - points[index]
        depth, facing, alpha = (one[frame].reshape(-1)[pixels] for one in (self.depth, self.facing, self.alpha))
        return Glance(
            index, pixels, frame, z[index] - depth, facing, alpha, self.rgb[frame].reshape(-1, 3)[pixels],
            toward / np.linalg.norm(toward, axis=1, keepdims=True),
        )  # fmt: skip
