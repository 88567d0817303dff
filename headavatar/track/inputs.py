"""What `track` reads from a preprocessed workspace."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from headavatar.errors import InputError
from headavatar.head import HeadModel
from headavatar.scene import Array, Camera, Split
from headavatar.track import verdicts
from headavatar.track.frames import FrameStore
from headavatar.track.habits import Habits
from headavatar.track.landmark_model import OUTER_EYE_CORNERS
from headavatar.track.occlusion import hidden_shares
from headavatar.workers import in_order
from headavatar.workspace import Workspace, layout
from headavatar.workspace.clips import read_image

WORKING_SIZE = 256
"""Side of the pictures that poses are sharpened by; larger clips are reduced to it."""

_WORKING = (WORKING_SIZE, WORKING_SIZE)

LEAST_FRAMES = 3


@dataclass(frozen=True)
class Inputs:
    """Usable frames of a clip.

    Attributes:
        frame_idx: (T,) indices into the workspace's frames.
        times_s: (T,).
        landmarks: (T, 478, 3) pixels of the crop.
        scores: (T, 52).
        size: side of the crop, pixels.
        images: (T, S, S, 3) uint8 at the working size, on disk.
        parsing: (T, S, S) uint8 at the working size, on disk.
        valid: (S, S) bool at the working size.
        prior: camera with the principal point of the uncropped picture and the focal length believed beforehand.
        train: (T,) bool: frames that no holdout, of blocks or of tail, contains or guards.
        habits: of the landmark network, if they are to be allowed for.
        table: frame, reason, sharpness and hidden of every frame of the clip; the reason is "" for those above.
    """

    frame_idx: Array
    times_s: Array
    landmarks: Array
    scores: Array
    size: int
    images: FrameStore
    parsing: FrameStore
    valid: Array
    prior: Camera
    train: Array
    habits: Habits | None
    table: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.frame_idx)


def read(workspace: Workspace, head: HeadModel, field_of_view_deg: float, habits: Habits | None = None) -> Inputs:
    """Read the usable frames: those that preprocess accepts and in which nothing hides or blurs the face.

    Args:
        workspace: preprocessed.
        head: the head model, for the layout of the landmarks.
        field_of_view_deg: of the uncropped picture's longer side, believed beforehand.
        habits: of the landmark network, if they are to be allowed for.
    Raises:
        InputError: there are too few of them.
        WorkspaceError: a file is missing or damaged.
    """
    points = workspace.read_npz(layout.LANDMARKS)
    video = workspace.read_json(layout.VIDEO)
    rows = workspace.read_jsonl(layout.FRAME_TABLE)
    table = [{"frame": row["frame"], "reason": row["reason"], "sharpness": row["sharpness"]} for row in rows]
    for entry in table:
        if not entry["reason"] and not points["detected"][entry["frame"]]:
            entry["reason"] = "no_face"
    positions = np.array([i for i, entry in enumerate(table) if not entry["reason"]], int)
    if len(positions) < LEAST_FRAMES:
        raise _too_few(table)
    frame_idx = np.array([rows[i]["frame"] for i in positions], np.int64)
    times_s = np.array([rows[i]["time_s"] for i in positions], np.float64)
    folder = workspace.partial_dir("track")
    images = FrameStore.written(in_order(partial(_image, workspace.path(layout.FRAMES)), frame_idx), folder)
    parsing = FrameStore.written(in_order(partial(_parsing, workspace.path(layout.PARSING)), frame_idx), folder)
    valid = read_image(workspace.path(layout.VALID), gray=True)
    valid = cv2.resize(valid, images.shape[2:0:-1], interpolation=cv2.INTER_AREA) > 250
    landmarks, size = points["landmarks"][frame_idx], int(video["size"])
    hidden = hidden_shares(head, images, parsing, valid, landmarks * (len(valid) / size))
    sharpness = np.array([rows[i]["sharpness"] for i in positions], np.float64)
    reasons = verdicts.of_pictures(sharpness, hidden, landmarks, times_s, OUTER_EYE_CORNERS)
    for position, reason, share in zip(positions, reasons, hidden, strict=True):
        table[position] |= {"reason": reason, "hidden": round(float(share), 4)}
    good = np.array([not reason for reason in reasons])
    if good.sum() < LEAST_FRAMES:
        raise _too_few(table)
    return Inputs(
        frame_idx=frame_idx[good],
        times_s=times_s[good],
        landmarks=landmarks[good],
        scores=points["scores"][frame_idx[good]],
        size=size,
        images=images.at(good),
        parsing=parsing.at(good),
        valid=valid,
        prior=prior_camera(video, field_of_view_deg),
        train=training_frames(times_s[good]),
        habits=habits,
        table=table,
    )


def _too_few(table: list[dict[str, Any]]) -> InputError:
    count = sum(not entry["reason"] for entry in table)
    failed = Counter(verdicts.REASONS.get(entry["reason"], entry["reason"]) for entry in table if entry["reason"])
    seen = ", ".join(f"{number} {words}" for words, number in failed.most_common())
    return InputError(
        f"Only {count} frames show a usable face.",
        why=f"Tracking needs a face that is whole, sharp and alone in at least three frames; seen: {seen}.",
        fix="Use a longer clip, or see source/frames.jsonl for each frame's verdict.",
    )


def training_frames(times_s: Array) -> Array:
    """(T,) bool: what both splits call training, so that identity and texture are honest under either."""
    train = np.zeros(len(times_s), bool)
    both = np.intersect1d(Split.blocks(times_s).train, Split.tail(times_s).train)
    train[both if len(both) else slice(None)] = True
    return train


def prior_camera(video: dict[str, object], field_of_view_deg: float) -> Camera:
    """The camera before anything is seen: the uncropped picture's center, and a usual field of view.

    Args:
        video: as in source/video.json: width, height, crop [x, y, side], size.
        field_of_view_deg: of the uncropped picture's longer side.
    """
    width, height, size = (int(video[key]) for key in ("width", "height", "size"))  # type: ignore[call-overload]
    x, y, side = (float(value) for value in video["crop"])  # type: ignore[attr-defined]
    scale = size / side
    focal = scale * max(width, height) / 2 / np.tan(np.radians(field_of_view_deg) / 2)
    center = (width / 2 - x) * scale, (height / 2 - y) * scale
    K = np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]])
    return Camera(K=K, width=size, height=size)


def _image(folder: Path, index: int) -> Array:
    image = read_image(folder / layout.frame_name(index))
    return image if len(image) <= WORKING_SIZE else cv2.resize(image, _WORKING, interpolation=cv2.INTER_AREA)


def _parsing(folder: Path, index: int) -> Array:
    parsing = read_image(folder / layout.frame_name(index), gray=True)
    return parsing if len(parsing) <= WORKING_SIZE else cv2.resize(parsing, _WORKING, interpolation=cv2.INTER_NEAREST)
