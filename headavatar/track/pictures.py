"""Frames as the solvers read them: blurred and reduced on the way, a few at a time, sampled between pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from headavatar.scene import PARSING_CLASSES, Array
from headavatar.track.frames import Changed, Frames

HEAD_CLASSES = ("hair", "body_skin", "face_skin", "other")


@dataclass(frozen=True)
class Pictures:
    """Frames as the solvers read them.

    Attributes:
        images: (T, H, W, 3) uint8, read when indexed.
        trust: (T, H, W) uint8, 255 where a pixel shows the head, made when indexed.
        focal: pixels at this size.
        center: (2,) principal point, pixels at this size.
        times_s: (T,).
    """

    images: Frames
    trust: Frames
    focal: float
    center: Tensor
    times_s: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @staticmethod
    def head_pixels(parsing: Frames, valid: Array) -> Frames:
        """(T, H, W) uint8 trust from parsing indices and the clip's valid pixels, kept clear of the outline."""
        of_class = np.array([255 * (name in HEAD_CLASSES) for name in PARSING_CLASSES], np.uint8)
        shown = valid.astype(np.uint8)
        kernel = np.ones((5, 5), np.uint8)  # pictures of 256 pixels bleed over their outline by two

        def trusted(classes: Array) -> Array:
            return np.asarray(cv2.erode(of_class[classes] * shown, kernel))

        return Changed(parsing, trusted, parsing.shape[1:])

    def blurred(self, sigma: float, scale: float) -> Pictures:
        """The same pictures blurred, and smaller by `scale`."""
        height, width = (int(round(n * scale)) for n in self.images.shape[1:3])

        def smaller(image: Array) -> Array:
            return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))

        def blurred(image: Array) -> Array:
            image = image if scale == 1 else smaller(image)
            return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma)) if sigma > 0 else image

        return Pictures(
            Changed(self.images, blurred, (height, width, 3)),
            self.trust if scale == 1 else Changed(self.trust, smaller, (height, width)),
            self.focal * scale, self.center * scale, self.times_s,
        )  # fmt: skip


def chunks(frames: int, size: int) -> list[slice]:
    """Slices of at most `size` frames."""
    return [slice(i, min(i + size, frames)) for i in range(0, frames, size)]


def images_of(pictures: Pictures, frames: slice | Array) -> Tensor:
    """(B, 3, H, W) float in [0, 1] of B frames, a slice or positions."""
    return torch.from_numpy(pictures.images[frames]).permute(0, 3, 1, 2).float() / 255


def sample(images: Tensor, pixels: Tensor) -> Tensor:
    """(B, C, N) bilinear samples of (B, C, H, W) images at (B, N, 2) pixels, centers at +0.5."""
    size = torch.tensor([images.shape[3], images.shape[2]])
    grid = 2 * pixels / size - 1
    return torch.nn.functional.grid_sample(
        images, grid[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )[:, :, 0]
