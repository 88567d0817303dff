"""The training frames as whole pictures, read from disk as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...scene import Array, Clip
from ..frame_file import FrameFile
from .semantics import labels

COVERED = 13
"""A pixel that clothes cover by this much of 255 teaches nothing of the head."""
EYES = (33, 263, 159, 145, 386, 374, 105, 334)
MOUTH = (0, 17, 57, 287)


@dataclass(frozen=True)
class TrainingFrames:
    """Pictures, mattes and landmarks of n training frames.

    Attributes:
        colors: (n, H, W, 3) uint8.
        mattes: (n, H, W) uint8.
        counted: (n, H, W) bool, false outside the picture and where clothes hide the head.
        normals: (n, H, W, 3) uint8 as of `Clip`, or None.
        labels: (n, H, W) uint8 as of `semantics.labels`, or None.
        landmarks: (n, 478, 2) pixels.
        middles: name → (n, 2) pixels about which patches lie.
    """

    colors: Tensor | FrameFile
    mattes: Tensor | FrameFile
    counted: Tensor | FrameFile
    normals: Tensor | FrameFile | None
    labels: Tensor | FrameFile | None
    landmarks: Tensor
    middles: dict[str, Tensor]

    @staticmethod
    def of(clip: Clip, device: str, *, with_normals: bool, with_labels: bool) -> TrainingFrames:
        """Read a clip's training frames; no other frame's colors are touched."""
        train = clip.split.train
        with_normals = with_normals and clip.normals is not None

        def records() -> Iterator[tuple[Array, ...]]:
            for i in map(int, train):
                counted = clip.valid
                if clip.covered is not None:
                    counted = counted & (np.asarray(clip.covered[i]) < COVERED)
                row = [np.asarray(clip.images[i]), np.asarray(clip.mattes[i]), np.ascontiguousarray(counted)]
                if with_normals and clip.normals is not None:
                    row.append(np.asarray(clip.normals[i]))
                if with_labels:
                    row.append(labels(np.asarray(clip.parsing[i]), np.asarray(clip.landmarks[i, :, :2])))
                yield tuple(row)

        rows: Sequence[Tensor | FrameFile]
        if torch.device(device).type == "cpu":
            rows = FrameFile.written(records(), clip.scratch)
        else:
            rows = [
                torch.from_numpy(np.stack(column)).to(device) for column in zip(*records(), strict=True)
            ]  # fmt: skip
        marks = np.asarray(clip.landmarks[train, :, :2], np.float32)
        middles = {
            "head": marks.mean(1), "face": marks.mean(1), "mouth": marks[:, MOUTH].mean(1),
            "eyes": marks[:, EYES].mean(1),
        }  # fmt: skip
        middles["head"] = middles["head"] - np.array([0, 0.25], np.float32) * np.ptp(marks[..., 1], axis=1)[:, None]
        return TrainingFrames(
            rows[0], rows[1], rows[2], rows[3] if with_normals else None, rows[-1] if with_labels else None,
            torch.from_numpy(marks).to(device),
            {name: torch.from_numpy(np.nan_to_num(m)) for name, m in middles.items()},
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.colors)

    def truth(self, frames: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Of some frames: colors on white (B, H, W, 3) and mattes (B, H, W) in [0, 1], and what counts (B, H, W)."""
        index = torch.tensor(frames)
        matte = self.mattes[index].float() / 255
        color = self.colors[index].float() / 255
        return color * matte[..., None] + (1 - matte[..., None]), matte, self.counted[index].float()

    def corner(self, frame: int, region: str, edge: int, generator: torch.Generator) -> tuple[int, int]:
        """Row and column at which a patch of this edge begins, near the middle of a region."""
        height, width = self.colors[frame].shape[:2]
        shift = (torch.rand(2, generator=generator) - 0.5) * edge / 2
        column, row = (self.middles[region][frame] + shift - edge / 2).round().long().tolist()
        return max(0, min(row, height - edge)), max(0, min(column, width - edge))
