"""The picture people check a track by: the frame with the head's landmarks and mesh on it, beside the shaded head."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from headavatar.errors import EnvironmentFault
from headavatar.head import HeadModel
from headavatar.ops import vertex_normals
from headavatar.ops.raster import interpolate, rasterize
from headavatar.scene import Array
from headavatar.track.landmark_fit import project

_LIGHT = np.array([0.25, 0.45, 0.85])
_CLAY = np.array([205.0, 198.0, 190.0])
_MODEL_COLOR = (60, 230, 90)
_NETWORK_COLOR = (255, 70, 70)


def surface(head: HeadModel, world: Tensor, focal: float, center: Tensor, size: int) -> tuple[Array, Array]:
    """What a posed head's surface looks like.

    Args:
        head: the head model.
        world: (V, 3) posed vertices.
        focal, center: of the camera at this size, pixels.
        size: side of the picture, pixels.
    Returns:
        unit normals (size, size, 3) in world axes, which are the camera's with y up and z to the viewer, 0 off the
        head; and the mask (size, size) bool.
    """
    screen = torch.cat([project(world, focal, center), -world[:, 2:]], 1)
    fragments = rasterize(screen, head.faces, size, size)
    normal = interpolate(vertex_normals(world, head.faces), head.faces, fragments).numpy()
    return normal / np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-6), fragments.mask.numpy()


def normal_picture(normal: Array, mask: Array) -> Array:
    """(S, S, 3) uint8, normal * 0.5 + 0.5, 0 off the head: like preprocess' pictures of normals."""
    return np.where(mask[..., None], np.round((normal * 0.5 + 0.5) * 255), 0).astype(np.uint8)


def shaded(normal: Array, mask: Array) -> Array:
    """(S, S, 3) uint8: a surface as clay, on white."""
    light = np.clip(normal @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)[..., None]
    return np.where(mask[..., None], _CLAY * (0.25 + 0.75 * light), 255).astype(np.uint8)


def picture(image: Array, normal: Array, mask: Array, model_points: Array, landmarks: Array) -> Array:
    """One frame's overlay: picture with mesh outline, model's (green) and network's (red) landmarks; clay beside it.

    Args:
        image: (S, S, 3) uint8.
        normal, mask: as `surface` gives them; larger ones are reduced.
        model_points, landmarks: (478, 2) pixels.
    Returns:
        (S, 2 S, 3) uint8.
    """
    size = len(image)
    if len(mask) != size:
        normal = cv2.resize(normal, (size, size), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0.5
    clay = shaded(normal, mask)
    left = np.ascontiguousarray(image)
    outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(left, outline, -1, (80, 160, 255), 1)
    for points, color in ((landmarks, _NETWORK_COLOR), (model_points, _MODEL_COLOR)):
        column, row = np.round(points[:, :2] - 0.5).astype(int).clip(0, size - 1).T
        left[row, column] = color
    return np.concatenate([left, clay], 1)


def write_video(path: Path, pictures: Iterable[Array], width: int, height: int, fps: float) -> None:
    """Encode RGB pictures as H.264.

    Raises:
        EnvironmentFault: ffmpeg failed.
    """
    import imageio_ffmpeg

    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{width}x{height}", "-r", f"{fps:.4f}", "-i", "-", "-an", "-c:v", "libx264", "-preset", "veryfast",
        "-crf", "20", "-pix_fmt", "yuv420p", "-threads", "2", str(path),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stderr is not None
    try:
        for image in pictures:
            process.stdin.write(np.ascontiguousarray(image).tobytes())
        process.stdin.close()
        message = process.stderr.read().decode(errors="replace")
        code = process.wait()
    except BrokenPipeError:
        message, code = process.stderr.read().decode(errors="replace"), process.wait() or 1
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()
    if code:
        raise EnvironmentFault("The overlay video could not be encoded.", why=message.strip()[-400:])
