"""What an avatar must beat: the training frame that is nearest, and the tracked mesh with the video's own texture."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch

from headavatar import ops
from headavatar.metrics.truth import on_white
from headavatar.scene import Array, Clip


def nearest_training_frame(clip: Clip, frame: int) -> int:
    """The training frame whose landmarks lie closest to a frame's, in the crop, without moving anything.

    Args:
        clip: with its split.
        frame: position in the clip.
    Returns:
        position of a training frame.
    """
    train = clip.split.train
    distance = np.linalg.norm(clip.landmarks[train, :, :2] - clip.landmarks[frame, :, :2], axis=2).mean(1)
    return int(train[int(np.nanargmin(distance))])


def show_training_frame(clip: Clip, frame: int) -> Array:
    """The nearest training frame on white by its own matte, (H, W, 3) in [0, 1]."""
    near = nearest_training_frame(clip, frame)
    return on_white(clip.images[near], clip.mattes[near])


class TexturedMesh:
    """The tracked head mesh, wearing the texture that `track` gathered from training frames.

    Args:
        head: the head model of the tracking.
        clip: its camera and parameters.
        texture: (h, w, 3 or 4) uint8, in the head's UV layout, v up.
    """

    def __init__(self, head: Any, clip: Clip, texture: Array) -> None:
        self.head, self.clip = head, clip
        self.texture = np.ascontiguousarray(texture[..., :3])
        self.uvs = head.uvs.cpu().numpy()[head.uv_faces.cpu().numpy()]  # (F, 3 corners, 2)

    @torch.no_grad()
    def render(self, frame: int) -> Array:
        """The mesh over white, (H, W, 3) float32 in [0, 1]."""
        camera, params = self.clip.camera, self.clip.params[frame]
        tensor = torch.from_numpy
        vertices = self.head.posed(
            tensor(params.identity), tensor(params.expression), tensor(params.rotation), tensor(params.translation),
            neck=tensor(params.neck), jaw=tensor(params.jaw), eyes=tensor(params.eyes),
        )[0].numpy()  # fmt: skip
        pixels, depth = camera.project(vertices)
        placed = torch.from_numpy(np.concatenate([pixels, depth[:, None]], axis=1).astype(np.float32))
        fragments = ops.rasterize(placed, self.head.faces, camera.height, camera.width)
        index, bary = fragments.face_index.numpy(), fragments.bary.numpy()
        uv = (self.uvs[np.maximum(index, 0)] * bary[..., None]).sum(-2).astype(np.float32)
        height, width = self.texture.shape[:2]
        colors = cv2.remap(
            self.texture, uv[..., 0] * width - 0.5, (1 - uv[..., 1]) * height - 0.5, cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        seen: Array = np.where(index[..., None] >= 0, colors.astype(np.float32) / 255, np.float32(1.0))
        return seen
