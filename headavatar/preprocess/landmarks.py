"""478 face landmarks, 52 expression scores and a head pose per frame, from MediaPipe's face landmarker.

Video mode follows a face from its own landmarks, which places them better than a detector's box does. Every frame is
shown twice, so that the second look starts from this frame's landmarks and not from those of the frame before, which
may be a third of a second away. The landmarker forgets at fixed frames, so a run that was interrupted there continues
to the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from headavatar.errors import EnvironmentFault
from headavatar.preprocess.runtimes import quiet
from headavatar.scene import ARKIT_NAMES, Array

POINTS = 478
FACES = 2
SHARPNESS_SIDE = 128
FRAME_STEP_MS = 20


@dataclass(frozen=True)
class Faces:
    """What the landmarker saw in N frames; unseen faces are NaN.

    Attributes:
        points: (N, FACES, 478, 3) x y in pixels of the frame given, z in the same scale, smaller is nearer.
        scores: (N, FACES, 52) in the order of `ARKIT_NAMES`.
        poses: (N, FACES, 4, 4) MediaPipe's facial transformation matrix.
        sharpness: (N, FACES) contrast-free sharpness of the face.
        times_s: (N,) seconds into the video.
    """

    points: Array
    scores: Array
    poses: Array
    sharpness: Array
    times_s: Array

    def __len__(self) -> int:
        return len(self.times_s)

    @staticmethod
    def joined(parts: Sequence[Faces]) -> Faces:
        """The parts one after the other."""
        names = ("points", "scores", "poses", "sharpness", "times_s")
        return Faces(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@contextmanager
def landmarker(model: Path) -> Iterator[Any]:
    """MediaPipe's face landmarker in video mode, closed afterwards."""
    try:
        from mediapipe.tasks.python import BaseOptions, vision
    except (ImportError, OSError) as error:
        raise EnvironmentFault(
            "mediapipe cannot be loaded", why=str(error),
            fix="pip install mediapipe, and the system's libEGL and libGLESv2 (Debian: apt install libegl1 libgles2)",
        ) from error  # fmt: skip
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=FACES,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    with quiet():
        instance = vision.FaceLandmarker.create_from_options(options)
    try:
        yield instance
    finally:
        instance.close()


def detect(model: Path, frames: Sequence[tuple[float, Array]]) -> Faces:
    """Find the faces of consecutive frames, starting without memory of earlier ones.

    Args:
        model: the face_landmarker.task file.
        frames: (time in seconds, (H, W, 3) uint8 RGB) of each frame.
    """
    from mediapipe import Image, ImageFormat

    count = len(frames)
    points = np.full((count, FACES, POINTS, 3), np.nan, np.float32)
    scores = np.full((count, FACES, len(ARKIT_NAMES)), np.nan, np.float32)
    poses = np.full((count, FACES, 4, 4), np.nan, np.float32)
    sharpness = np.full((count, FACES), np.nan, np.float32)
    with landmarker(model) as instance:
        for i, (_, rgb) in enumerate(frames):
            image = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
            instance.detect_for_video(image, 2 * i * FRAME_STEP_MS)
            found = instance.detect_for_video(image, (2 * i + 1) * FRAME_STEP_MS)
            height, width = rgb.shape[:2]
            for k, marks in enumerate(found.face_landmarks[:FACES]):
                points[i, k] = np.array([(p.x * width, p.y * height, p.z * width) for p in marks], np.float32)
                by_name = {category.category_name: category.score for category in found.face_blendshapes[k]}
                scores[i, k] = [by_name.get(name, 0.0) for name in ARKIT_NAMES]
                poses[i, k] = found.facial_transformation_matrixes[k]
                sharpness[i, k] = face_sharpness(rgb, points[i, k])
    return Faces(points, scores, poses, sharpness, np.array([t for t, _ in frames], np.float64))


def face_sharpness(rgb: Array, points: Array) -> float:
    """How sharp a face is: its Laplacian's energy over its contrast, at a fixed size.

    Args:
        rgb: (H, W, 3) uint8.
        points: (478, 3) landmarks, pixels.
    Returns:
        a figure to compare within a clip, 0 where the face lies outside the picture.
    """
    height, width = rgb.shape[:2]
    low = np.clip(np.floor(points[:, :2].min(0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(points[:, :2].max(0)), 0, (width, height)).astype(int)
    if (high - low).min() < 8:
        return 0.0
    face = cv2.cvtColor(np.ascontiguousarray(rgb[low[1] : high[1], low[0] : high[0]]), cv2.COLOR_RGB2GRAY)
    face = cv2.resize(face, (SHARPNESS_SIDE, SHARPNESS_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return float(cv2.Laplacian(face, cv2.CV_32F).std() / (face.std() + 1.0))


def follow_subject(faces: Faces) -> tuple[Array, Array]:
    """Choose one face per frame, the same person throughout, and count the faces of comparable size.

    Args:
        faces: what the landmarker saw.
    Returns:
        which (N,): index of the subject's face, -1 where there is none.
        comparable (N,): distinct faces at least half as large as the subject's, the subject's included.
    """
    low, high = faces.points[..., :2].min(2), faces.points[..., :2].max(2)
    centers, sides = (low + high) / 2, np.linalg.norm(high - low, axis=-1)
    count = len(faces)
    which = np.full(count, -1)
    comparable = np.zeros(count, int)
    seen = np.isfinite(sides)
    if not seen.any():
        return which, comparable
    largest = np.nanargmax(np.where(seen, sides, -1), axis=1)
    rows = np.flatnonzero(seen.any(1))
    home = np.median(centers[rows, largest[rows]], axis=0)
    usual = np.median(sides[rows, largest[rows]])
    for i in rows:
        present = np.flatnonzero(seen[i])
        cost = np.linalg.norm(centers[i, present] - home, axis=1) / usual + np.abs(np.log(sides[i, present] / usual))
        which[i] = present[np.argmin(cost)]
        for k in present:
            apart = np.linalg.norm(centers[i, k] - centers[i, which[i]]) > 0.4 * usual
            comparable[i] += k == which[i] or (apart and sides[i, k] >= 0.5 * sides[i, which[i]])
    return which, comparable
