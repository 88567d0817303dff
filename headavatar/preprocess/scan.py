"""First pass: every frame of the whole picture, small enough to be quick, is searched for faces."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path

import numpy as np

from headavatar.preprocess import decode
from headavatar.preprocess.landmarks import Faces, detect
from headavatar.progress import Reporter
from headavatar.workspace import atomic

BLOCK = 64
"""Frames between two points at which the landmarker forgets and the work so far is saved."""
LONGEST_SIDE = 1280
"""The picture is searched at most at this size; landmarks come from a 256-pixel view of the face anyway."""


def scan(
    video: Path, info: decode.VideoInfo, selection: decode.Selection, model: Path, partial: Path, reporter: Reporter
) -> Faces:
    """Find the faces of every selected frame.

    Args:
        video, info, selection: what to read.
        model: the landmarker's file.
        partial: folder that keeps the blocks that are done.
        reporter: progress.
    Returns:
        faces in pixels of the upright picture at full size.
    Raises:
        InputError: nothing decodes.
    """
    shrink = min(1.0, LONGEST_SIDE / max(info.width, info.height))
    size = (round(info.width * shrink), round(info.height * shrink))
    with atomic.disk_errors(partial):
        partial.mkdir(parents=True, exist_ok=True)
    blocks: list[Faces] = []
    frames = decode.read_frames(video, info, selection, size)
    with reporter.task("faces and landmarks", decode.expected_frames(info, selection)) as task:
        while block := list(islice(frames, BLOCK)):
            saved = partial / f"{len(blocks):05d}.npz"
            faces = _load(saved, len(block))
            if faces is None:
                faces = detect(model, block)
                _save(saved, faces)
            blocks.append(faces)
            task.advance(len(block))
    joined = Faces.joined(blocks)
    scale = np.array([info.width / size[0], info.height / size[1], info.width / size[0]], np.float32)
    return Faces(joined.points * scale, joined.scores, joined.poses, joined.sharpness, joined.times_s)


def _load(path: Path, count: int) -> Faces | None:
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as saved:
        faces = Faces(**{name: saved[name] for name in saved.files})
    return faces if len(faces) == count else None


def _save(path: Path, faces: Faces) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **vars(faces))
    atomic.write_bytes(path, buffer.getvalue(), sync=False)
