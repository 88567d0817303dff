"""Which pixels of the training frames a step looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...scene import Array, Clip
from ..frame_file import FrameFile
from .collar import Collar

MOUTH = (0, 17, 57, 287)
"""MediaPipe points whose rectangle holds the mouth: its top, bottom and corners, a little outside the lips."""
EYES = (33, 263, 159, 145, 386, 374, 105, 334)
GUESS = 0.1
"""What a made-up pixel counts beside one that was seen: where some frame shows what is there, that frame is right."""
COVERED = 13
"""A pixel that clothes cover by this much of 255 teaches nothing of the head."""
SHARES = {"neck": 0.04, "face": 0.2, "mouth": 0.12, "eyes": 0.08, "head": 1.0}
"""Share of a step's pixels drawn evenly from each rectangle; the last gets what the others leave."""


@dataclass(frozen=True)
class TrainingPixels:
    """Colors, mattes and rectangles of the training frames.

    On the CPU colors and mattes stay on disk and are read a frame at a time, so memory does not grow with the clip. A
    card holds them in its own memory, since every read would wait for it.

    Attributes:
        colors: (n, H·W, 3) uint8.
        mattes: (n, H·W) uint8.
        counted: (n, H·W) bool, false outside the picture and where clothes hide the head.
        made_up: (n, H·W) bool, where colors and mattes are a guess at what clothes hide; None where nobody guessed.
        rectangles: name → (n, 4) int64 x0, y0, x1, y1 with x1, y1 exclusive; "neck" only where it is made up.
        plate: (H·W, 3) uint8, the clip's background, white where it has none.
        width, height: of the frames.
    """

    colors: torch.Tensor | FrameFile
    mattes: torch.Tensor | FrameFile
    counted: torch.Tensor | FrameFile
    made_up: torch.Tensor | FrameFile | None
    rectangles: dict[str, torch.Tensor]
    plate: torch.Tensor
    width: int
    height: int

    @staticmethod
    def of(clip: Clip, device: str, collar: Collar | None = None) -> TrainingPixels:
        """Read a clip's training frames; no other frame's colors are touched. A `collar` makes up what clothes hide."""
        height, width = clip.valid.shape
        train = clip.split.train
        heads, necks = [], []

        def records() -> Iterator[tuple[Array, ...]]:
            for i in train:
                matte, counted = np.asarray(clip.mattes[int(i)]), clip.valid
                if clip.covered is not None:
                    counted = counted & (np.asarray(clip.covered[int(i)]) < COVERED)
                heads.append(_rectangle_of(matte > 25, 6))
                image, guesses = np.asarray(clip.images[int(i)]), []
                if collar is not None:
                    image, matte, made_up = collar.fill(int(i), image, matte, counted)
                    necks.append(_rectangle_of(made_up, 0) if made_up.any() else heads[-1])
                    guesses = [made_up]
                yield image.reshape(-1, 3), *(one.reshape(-1) for one in (matte, counted, *guesses))

        rows: Sequence[torch.Tensor | FrameFile]
        if torch.device(device).type == "cpu":
            rows = FrameFile.written(records(), clip.scratch)
        else:
            stacks = (np.stack(column) for column in zip(*records(), strict=True))
            rows = [torch.from_numpy(stack).to(device) for stack in stacks]
        colors, mattes, counted, *guessed = rows
        boxes = np.stack(heads)
        marks = clip.landmarks[train, :, :2]
        rectangles = {
            "head": boxes,
            "face": _rectangle(marks, 0.15, boxes, width, height),
            "mouth": _rectangle(marks[:, MOUTH], 0.2, boxes, width, height),
            "eyes": _rectangle(marks[:, EYES], 0.1, boxes, width, height),
        }
        if necks:
            rectangles["neck"] = np.stack(necks)
        plate = np.full((height, width, 3), 255, np.uint8) if clip.background is None else clip.background
        named = {name: torch.from_numpy(places) for name, places in rectangles.items()}
        return TrainingPixels(
            colors, mattes, counted, guessed[0] if guessed else None, named,
            torch.from_numpy(plate.reshape(-1, 3)).to(device), width, height,
        )  # fmt: skip

    def weights(self, frame: int, pixels: torch.Tensor) -> torch.Tensor:
        """(N,) how much flat pixels of a frame count, 0 to 1."""
        seen = self.counted[frame, pixels].float()
        return seen if self.made_up is None else seen + GUESS * self.made_up[frame, pixels].float()

    def maps(self, frames: Array) -> tuple[Array, Array]:
        """Mattes uint8 and what they may be asked for, bool, of some frames, (n, H, W) each.

        A guess that there is neck may be asked, one that there is none may not: frames see skin beside the mesh's.
        """
        chosen, shape = torch.from_numpy(frames), (-1, self.height, self.width)
        mattes, counted = (one[chosen].cpu().numpy().reshape(shape) for one in (self.mattes, self.counted))
        if self.made_up is not None:
            counted = counted | (self.made_up[chosen].cpu().numpy().reshape(shape) & (mattes > 127))
        return mattes, counted

    def draw(self, frame: int, count: int, generator: torch.Generator) -> torch.Tensor:
        """(count,) flat pixel indices of a frame, more from where people look."""
        noise = torch.rand(count, 2, generator=generator)
        parts, start = [], 0
        for name, share in SHARES.items():
            if name not in self.rectangles:
                continue
            stop = min(count, start + int(round(share * count)))
            x0, y0, x1, y1 = self.rectangles[name][frame].tolist()
            x = x0 + (noise[start:stop, 0] * (x1 - x0)).to(torch.int64)
            y = y0 + (noise[start:stop, 1] * (y1 - y0)).to(torch.int64)
            parts.append(y * self.width + x)
            start = stop
        return torch.cat(parts).to(self.colors.device)

    def draw_evenly(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """(count,) flat pixel indices, anywhere in the picture."""
        chosen = torch.randint(self.width * self.height, (count,), generator=generator)
        return chosen.to(self.colors.device)

    def patch(self, frame: int, size: int, region: str, generator: torch.Generator) -> torch.Tensor:
        """(size²,) flat pixel indices of a square whose middle lies in one of the frame's rectangles."""
        size = min(size, self.width, self.height)
        x0, y0, x1, y1 = self.rectangles[region][frame].tolist()
        u, v = torch.rand(2, generator=generator).tolist()
        left = min(max(int(x0 + u * (x1 - x0) - size / 2), 0), self.width - size)
        top = min(max(int(y0 + v * (y1 - y0) - size / 2), 0), self.height - size)
        rows, columns = torch.arange(top, top + size), torch.arange(left, left + size)
        return (rows[:, None] * self.width + columns).reshape(-1).to(self.colors.device)


def _rectangle_of(where: Array, margin: int) -> Array:
    """(4,) the rectangle of what is marked, grown by `margin` pixels; the whole picture where nothing is."""
    height, width = where.shape
    ys, xs = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    if len(ys) == 0:
        return np.array([0, 0, width, height], np.int64)
    return np.array(
        [max(xs[0] - margin, 0), max(ys[0] - margin, 0), min(xs[-1] + 1 + margin, width),
         min(ys[-1] + 1 + margin, height)], np.int64,
    )  # fmt: skip


def _rectangle(points: Array, margin: float, fallback: Array, width: int, height: int) -> Array:
    """Rectangles around points, (n, 4), grown by a share of their size; `fallback` where points are missing."""
    low, high = points.min(1), points.max(1)
    grown = margin * (high - low)
    boxes = np.concatenate([np.floor(low - grown), np.ceil(high + grown)], axis=1)
    limit = np.array([width, height, width, height])
    boxes = np.where(np.isfinite(boxes), np.clip(boxes, 0, limit), 0)
    empty = (boxes[:, 2] - boxes[:, 0] < 2) | (boxes[:, 3] - boxes[:, 1] < 2)
    return np.where(empty[:, None], fallback, boxes).astype(np.int64)
