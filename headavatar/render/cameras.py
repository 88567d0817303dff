"""Cameras that move around a head, and heads that move before a camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headavatar.head.rotations import axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.scene import Array, Camera, Clip, HeadParams


@dataclass(frozen=True)
class Shot:
    """One picture to be taken.

    Attributes:
        params: one frame (T = 1).
        camera: what sees it.
    """

    params: HeadParams
    camera: Camera

    @property
    def head_to_world(self) -> Array:
        """(4, 4) where the head stands, metres."""
        pose = np.eye(4)
        pose[:3, :3] = axis_angle_to_matrix_np(np.asarray(self.params.rotation[0], np.float64))
        pose[:3, 3] = self.params.translation[0]
        return pose

    def seen_by(self, camera: Camera) -> Shot:
        """The same picture with the head moved instead of the camera.

        A clip has one camera, so an avatar has learned what heads look like that turn before it: their shading, and
        whatever else goes with the head's pose. To it, a view from elsewhere is most familiar as a turn of the head.

        Args:
            camera: the clip's, whose place is taken.
        """
        pose = np.linalg.inv(camera.world_to_camera) @ self.camera.world_to_camera @ self.head_to_world
        moved = replace(
            self.params,
            rotation=matrix_to_axis_angle_np(pose[None, :3, :3]).astype(np.float32),
            translation=pose[None, :3, 3].astype(np.float32),
        )
        return Shot(moved, replace(self.camera, world_to_camera=camera.world_to_camera))


def around(camera: Camera, pivot: Array, yaw_rad: float, pitch_rad: float = 0.0) -> Camera:
    """The camera carried around a point, still seeing it in the same place and at the same distance.

    Args:
        camera: the view at angle 0.
        pivot: (3,) world space, metres.
        yaw_rad: turn about the world's y axis; positive goes to the subject's left.
        pitch_rad: turn about the camera's own x axis; positive goes up.
    """
    axes = camera.camera_to_world[:3, :3]
    right = axes[:, 0]
    turn = _about(np.array([0.0, 1.0, 0.0]), yaw_rad) @ _about(right, -pitch_rad)
    move = np.eye(4)
    move[:3, :3] = turn
    move[:3, 3] = pivot - turn @ pivot
    return replace(camera, world_to_camera=np.linalg.inv(move @ camera.camera_to_world))


def swing(camera: Camera, pivot: Array, frames: int, yaw_deg: float = 15.0, pitch_deg: float = 5.0) -> list[Camera]:
    """One lap of a flat ellipse around a head: a yaw swing of ±yaw_deg with a little rise and fall.

    Args:
        pivot: (3,) world space, metres; usually the middle of the head.
    Returns:
        `frames` cameras; played in a loop they have no seam. The first sees the head from the front, slightly above.
    """
    phase = 2 * np.pi * np.arange(frames) / frames
    return [around(camera, pivot, np.radians(yaw_deg) * np.sin(p), np.radians(pitch_deg) * np.cos(p)) for p in phase]


def _about(axis: Array, angle_rad: float) -> Array:
    """Rodrigues' rotation (3, 3) about a unit axis."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * cross @ cross


def degrees_from(params: HeadParams, known: HeadParams) -> Array:
    """(T,) how far each frame's rotation is from the nearest one among known frames, degrees."""
    turns, others = (axis_angle_to_matrix_np(np.asarray(p.rotation, np.float64)) for p in (params, known))
    cosine = (np.einsum("tij,kij->tk", turns, others) - 1) / 2
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))).min(axis=1))


def seats(clip: Clip) -> Array:
    """Where the clip's camera stood as the head saw it: in the middle, and far to each side, up and down.

    Returns:
        (N, 3) head space, metres, of frames that fit has seen.
    """
    poses = np.stack([Shot(clip.params[frame], clip.camera).head_to_world for frame in clip.split.train])
    eyes = np.einsum("tji,tj->ti", poses[:, :3, :3], clip.camera.camera_to_world[:3, 3] - poses[:, :3, 3])
    wanted = [np.median(eyes[:, :2], axis=0)]
    for axis in (0, 1):
        wanted += [np.where(np.arange(2) == axis, np.quantile(eyes[:, axis], q), wanted[0]) for q in (0.05, 0.95)]
    nearest = {int(np.linalg.norm(eyes[:, :2] - place, axis=1).argmin()) for place in wanted}
    return np.asarray(eyes[sorted(nearest)])
