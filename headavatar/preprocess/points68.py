"""68 landmarks per face from face-alignment's network, a second opinion beside MediaPipe's 478.

Its weights lie at their author's address only and are fetched into torch's own cache when they are first needed. The
network is shown a window that MediaPipe's landmarks choose, so that no detector of its own is needed.

Source: Bulat and Tzimiropoulos, How far are we from solving the 2D & 3D face alignment problem?, ICCV 2017.
"""

from __future__ import annotations

import hashlib
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

import cv2
import numpy as np

from headavatar.errors import ModelError
from headavatar.progress import Reporter
from headavatar.scene import Array
from headavatar.workspace import atomic, layout
from headavatar.workspace.clips import read_image

POINTS = 68
NETWORK = "3DFAN-4"
"""Trained on points that keep their place on the skin as the head turns, as MediaPipe's do."""
BLOCK = 32
FACE_SIDE = 640
"""The face is shown at this size, pixels: the package rounds what it finds to whole pixels."""
_CONNECT_S = 6.0
_WITHOUT = "or leave it out: --set preprocess.landmarks=mediapipe"


class Detector(Protocol):
    """What is used of `face_alignment.FaceAlignment`."""

    def get_landmarks_from_image(
        self, image_or_path: Array, detected_faces: list[Array], return_bboxes: bool, return_landmark_score: bool
    ) -> tuple[list[Array] | None, list[Array] | None, Any]: ...


@dataclass(frozen=True)
class Points68:
    """68 points of N frames.

    Attributes:
        points: (N, 68, 2) pixels of the crop, NaN where there is no face.
        confidence: (N, 68) in [0, 1], 0 where there is no face.
    """

    points: Array
    confidence: Array


def load() -> Detector:
    """face-alignment's network.

    Raises:
        ModelError: the package or its weights cannot be had.
    """
    try:
        from face_alignment import FaceAlignment, LandmarksType
        from face_alignment.api import models_urls
    except (ImportError, OSError) as error:
        raise ModelError(
            "face-alignment cannot be loaded", why=str(error), fix=f"pip install face-alignment, {_WITHOUT}"
        ) from error
    _fetch(models_urls[NETWORK])
    # the package's stand-in for a detector, which needs no weights: the windows come from us
    return FaceAlignment(LandmarksType.TWO_HALF_D, device="cpu", face_detector="folder", compile=False)


def _fetch(url: str) -> Path:
    """The network's file in torch's cache, checked against the digest that its name carries."""
    from torch import hub

    file = Path(hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    digest = file.name.removesuffix(".pth.tar").rpartition("-")[2]
    fix = f"put {url} from a machine that can reach it at {file}, {_WITHOUT}"
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with _impatient():
                hub.download_url_to_file(url, str(file), digest, progress=False)
        except (OSError, RuntimeError) as error:
            why = f"{urlparse(url).hostname}: {error}"
            raise ModelError("face-alignment's weights cannot be had", why=why, fix=fix) from error
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if not found.startswith(digest):
        why = f"its sha256 begins with {found[: len(digest)]} instead of {digest}"
        raise ModelError(f"{file} is not face-alignment's network", why=why, fix=f"delete it and run again, {_WITHOUT}")
    return file


@contextmanager
def _impatient() -> Iterator[None]:
    """torch waits for a silent address without end."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def look(detector: Detector, image: Array, around: Array) -> tuple[Array, Array]:
    """Find one face's points.

    Args:
        detector: the network.
        image: (H, W, 3) uint8 RGB.
        around: (L, 2) points that span the face, pixels.
    Returns:
        (68, 2) pixels, and confidence (68,) in [0, 1].
    """
    low, high = around.min(0), around.max(0)
    scale = FACE_SIDE / float((high - low).max())
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    box = np.array([*(low * scale), *(high * scale), 1.0])
    found, scores, _ = detector.get_landmarks_from_image(
        large, detected_faces=[box], return_bboxes=False, return_landmark_score=True
    )
    if not found or not scores:
        return np.full((POINTS, 2), np.nan, np.float32), np.zeros(POINTS, np.float32)
    points = (np.asarray(found[0], np.float32)[:, :2] + CENTER) / scale
    # the peak of the picture's heat map and its mirror image's, added
    confidence = np.clip(np.asarray(scores[0], np.float32).reshape(POINTS) / 2, 0, 1)
    return points, confidence


CENTER = 0.5
"""From the package's pixel numbers to ours, whose centers lie at +0.5."""


def find(partial: Path, points: Array, detector: Detector, reporter: Reporter) -> Points68:
    """Find the 68 points of every frame that has a face; blocks that are done are kept.

    Args:
        partial: folder with `crops`; blocks are saved beside them.
        points: (N, 478, 3) MediaPipe's, pixels of the crop, NaN where there is no face.
        detector: the network.
        reporter: progress.
    """
    blocks = []
    with reporter.task("68 points", len(points)) as task:
        for first in range(0, len(points), BLOCK):
            saved = partial / "points68" / f"{first:06d}.npz"
            block = points[first : first + BLOCK]
            if not saved.exists():
                found = [
                    look(detector, read_image(partial / "crops" / layout.frame_name(first + i)), face[:468, :2])
                    if np.isfinite(face[0, 0])
                    else (np.full((POINTS, 2), np.nan, np.float32), np.zeros(POINTS, np.float32))
                    for i, face in enumerate(block)
                ]
                buffer = io.BytesIO()
                np.savez(buffer, points=np.stack([p for p, _ in found]), confidence=np.stack([c for _, c in found]))
                atomic.write_bytes(saved, buffer.getvalue(), sync=False)
            with np.load(saved, allow_pickle=False) as stored:
                blocks.append(Points68(stored["points"], stored["confidence"]))
            task.advance(len(block))
    return Points68(np.concatenate([b.points for b in blocks]), np.concatenate([b.confidence for b in blocks]))
