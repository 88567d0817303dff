"""What clothes hide of a neck, made up: the tracked mesh says where it goes on, the skin beside it in what color.

Where a collar hides a neck in every frame nothing says where it ends, and a field that is told nothing fills whatever
voxels it has there: a driven head stood on ragged blocks in the colors of its shirt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from ... import ops
from ...scene import PARSING_CLASSES, Array, Clip

SHARP = 2
"""The mesh is drawn so many times as large as the picture, for outlines that pass through pixels."""
BESIDE = 0.05
"""Clothes this near to the mesh's neck have no head behind them, of the picture's width; farther off nobody knows."""
REACHES = (0.015, 0.06, 0.25)
"""How far skin lends its color, of the picture's width: from as near as there is any."""
OPAQUE = 250
"""A pixel whose matte is above this has no other color in it."""


@dataclass(frozen=True)
class Collar:
    """Fills in what clothes hide of the neck in a clip's frames.

    Attributes:
        clip: with what clothes cover.
        head: the head model that it was tracked with.
        is_neck: (F,) bool, its faces that are neck.
    """

    clip: Clip
    head: Any
    is_neck: Array

    @staticmethod
    def of(clip: Clip, head: Any) -> Collar | None:
        """None where the torso is modelled too, or the head model does not say what its neck is."""
        region = head.regions.get("neck")
        if clip.covered is None or region is None or not bool(region.any()):
            return None
        return Collar(clip, head, region[head.faces].any(1).cpu().numpy())

    def fill(self, frame: int, image: Array, matte: Array, counted: Array) -> tuple[Array, Array, Array]:
        """One frame with its neck made whole.

        Args:
            frame: position in the clip.
            image: (H, W, 3) uint8.
            matte: (H, W) uint8.
            counted: (H, W) bool, false where clothes hide the head.
        Returns:
            Image and matte, and (H, W) bool: what of them is made up.
        """
        hidden = self.clip.valid & ~counted
        neck = self._drawn(frame)
        reach = max(1, round(BESIDE * neck.shape[1]))
        near = cv2.dilate((neck > 0).astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
        made_up = hidden & near
        skin = counted & (matte > OPAQUE) & (np.asarray(self.clip.parsing[frame]) == PARSING_CLASSES.index("body_skin"))
        if not made_up.any() or not skin.any():
            return image, matte, np.zeros_like(counted)
        filled = np.where(made_up[..., None], _spread(image, skin), image)
        return filled, np.where(made_up, neck, matte), made_up

    @torch.no_grad()
    def _drawn(self, frame: int) -> Array:
        """(H, W) uint8 how much of each pixel is the mesh's neck."""
        params, tensor = self.clip.params[frame], torch.from_numpy
        vertices = self.head.posed(
            tensor(params.identity), tensor(params.expression), tensor(params.rotation), tensor(params.translation),
            neck=tensor(params.neck), jaw=tensor(params.jaw), eyes=tensor(params.eyes),
        )[0].cpu().numpy()  # fmt: skip
        small = self.clip.camera
        camera = small.scaled(SHARP * small.width, SHARP * small.height)
        pixels, depth = camera.project(vertices)
        placed = tensor(np.concatenate([pixels, depth[:, None]], axis=1).astype(np.float32))
        seen = ops.rasterize(placed, self.head.faces.cpu(), camera.height, camera.width).face_index.numpy()
        neck = np.where((seen >= 0) & self.is_neck[seen], np.uint8(255), np.uint8(0))
        drawn: Array = cv2.resize(neck, (small.width, small.height), interpolation=cv2.INTER_AREA)
        return drawn


def _spread(image: Array, where: Array) -> Array:
    """(H, W, 3) uint8: everywhere the mean color of the pixels `where` that are near, or of all where none is."""
    values = image.astype(np.float32) * where[..., None]
    result = np.broadcast_to(values.sum((0, 1)) / where.sum(), image.shape).astype(np.float32)
    for reach in sorted(REACHES, reverse=True):
        sigma = reach * image.shape[1]
        weight = cv2.GaussianBlur(where.astype(np.float32), (0, 0), sigma)[..., None]
        color = cv2.GaussianBlur(values, (0, 0), sigma) / np.maximum(weight, 1e-6)
        trust = np.clip(weight / 0.02, 0, 1)
        result = trust * color + (1 - trust) * result
    return (result + 0.5).astype(np.uint8)
