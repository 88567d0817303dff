"""Cameras that move around a head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headavatar.scene import Array, Camera


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
