"""The preprocess stage: video → frames, landmarks, mattes, parsing, normals, background, and a verdict on every frame.

Three passes, each of which keeps what it has done so that a killed run goes on where it was:

1. scan: the whole picture is decoded small enough, faces are found, the crop is chosen, every frame is judged;
2. networks: the crop is decoded, mattes and parsing come from networks, frames shared out among threads;
3. compose: mattes are made steady over time and the head is cut out.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.dialects import pictures
from headavatar.errors import InputError, ModelError, UsageError
from headavatar.preprocess import crop, decode, networks, points68, stills, verdict
from headavatar.preprocess.background import clean_plate
from headavatar.preprocess.compose import compose
from headavatar.preprocess.fusion import fused
from headavatar.preprocess.landmarks import follow_subject
from headavatar.preprocess.normal_network import NormalNetwork
from headavatar.preprocess.scan import scan
from headavatar.preprocess.settings import MINIMUM_USABLE_FRAMES, PreprocessSettings, models
from headavatar.pretrained.fetch import fetch
from headavatar.progress import Reporter, RunContext
from headavatar.scene import Array
from headavatar.workspace import atomic, layout
from headavatar.workspace.digests import content_digest
from headavatar.workspace.store import Workspace

COMPLETE = "complete"
"""Name of the file in the partial work that says that every picture is made and may be moved to its place."""
COMPLETE_SHARE = 0.8
"""A video of which less than this share of the announced frames decodes is said to break off."""
PUBLISHED = ("frames", "mattes", "head_mattes", "parsing", "normals")
BACKGROUND = "background.png"


def run(workspace: Workspace, settings: PreprocessSettings, context: RunContext) -> dict[str, Any]:
    """Preprocess a video into the workspace's `source` folder.

    Args:
        workspace: where to write.
        settings: which video, which frames, which networks.
        context: reporter.
    Returns:
        counts and seconds of each pass.
    Raises:
        InputError: the video cannot be read, or too few of its frames show one whole face.
        ModelError: a network is missing and cannot be fetched.
    """
    if not settings.video:
        raise UsageError("no video was named", fix="headavatar preprocess VIDEO")
    video = Path(settings.video)
    info = decode.probe(video, settings.fps)
    networks_at = {name: fetch(name, context.reporter) for name in models(settings)}
    detector = second_opinion(settings, context.reporter)
    normal_network = NormalNetwork() if settings.normals == "network" else None
    partial = workspace.partial_dir("preprocess")
    selection = decode.Selection(settings.start, settings.every, settings.max_frames)
    clock = _Clock()

    seen = scan(video, info, selection, networks_at["face_landmarker"], partial / "scan", context.reporter)
    expected = decode.expected_frames(info, selection)
    if expected and len(seen) < COMPLETE_SHARE * expected:
        context.reporter.warn(f"{video.name} breaks off: {len(seen)} of about {expected} frames decode, and are used")
    which, comparable = follow_subject(seen)
    rows = np.arange(len(seen))
    picture_points, scores, poses, sharpness = (
        np.where((which >= 0).reshape(-1, *[1] * (values.ndim - 2)), values[rows, np.maximum(which, 0)], np.nan).astype(
            np.float32
        )
        for values in (seen.points, seen.scores, seen.poses, seen.sharpness)
    )
    detected = which >= 0
    if not detected.any():
        raise _unusable(video, len(seen), verdict.summarize(["no_face"] * len(seen)))
    if info.codec == stills.CODEC and info.width == info.height:
        square = crop.Crop(0, 0, info.width, settings.size)  # somebody has cropped these pictures already
    else:
        square = crop.choose(picture_points[detected], settings.size, (info.width, info.height))
    reasons = verdict.judge(picture_points, comparable, sharpness, square, (info.width, info.height))
    usable = reasons.count("")
    if usable < MINIMUM_USABLE_FRAMES:
        raise _unusable(video, len(seen), verdict.summarize(reasons))
    clock.lap("scan")

    points = square.points(picture_points)
    valid = square.valid(info.width, info.height)
    workers = settings.workers or min(4, os.cpu_count() or 1)
    complete = (partial / COMPLETE).exists()
    if not complete:
        networks.run(
            video, info, selection, square, valid, points, settings, networks_at, partial, workers, context.reporter
        )
        clock.lap("networks")
    others: dict[str, Array] = {}
    if detector is not None:
        other = points68.find(partial, points, detector, context.reporter)
        points = fused(points, other, "both" if settings.landmarks == "both" else "face-alignment")
        others = {"points68": other.points, "confidence68": other.confidence}
        clock.lap("68 points")
    if not complete:
        plate = clean_plate(partial, len(seen), valid)
        compose(partial, points, detected, valid, plate, normal_network, workers, context.reporter)
        if plate is not None:
            atomic.write_image(partial / BACKGROUND, plate.image)
        clock.lap("compose")
        atomic.write_text(partial / COMPLETE, "no plate" if plate is None else "plate")
    _publish(workspace, partial, len(seen))
    background = workspace.path(layout.BACKGROUND).exists()
    if not background:
        context.reporter.info("no clean background plate: the background moves, or too little of it is seen")
    workspace.write_image(layout.VALID, (valid * 255).astype(np.uint8))
    workspace.write_npz(layout.LANDMARKS, landmarks=points, scores=scores, pose=poses, detected=detected, **others)
    names: list[dict[str, str]] = [{} for _ in reasons]
    if info.codec == stills.CODEC:
        names = [{"file": pictures.label(file, video)} for _, file in stills.selected(video, info.fps, selection)]
    table = [
        {
            "frame": i, "source_frame": round(settings.start * info.fps) + i * settings.every,
            "time_s": round(float(seen.times_s[i]), 6), "usable": not reason, "reason": reason,
            "faces": int(comparable[i]), "sharpness": _rounded(sharpness[i]), **names[i],
        }
        for i, reason in enumerate(reasons)
    ]  # fmt: skip
    workspace.write_jsonl(layout.FRAME_TABLE, table)
    workspace.write_json(
        layout.VIDEO,
        {
            "digest": content_digest(video), "width": info.width, "height": info.height, "fps": info.fps,
            "duration_s": info.duration_s, "rotation": info.rotation, "crop": [square.x, square.y, square.side],
            "size": square.size, "frames": len(seen), "start_s": settings.start, "every": settings.every,
            "codec": info.codec, **({"normals": "network"} if normal_network is not None else {}),
        },
    )  # fmt: skip
    clock.lap("write")
    return {
        "frames": len(seen), "usable": usable, "seen": verdict.summarize(reasons),
        "crop": [square.x, square.y, square.side], "background": background, "seconds": clock.laps,
        "landmarks": settings.landmarks if others else "mediapipe",
    }  # fmt: skip


def second_opinion(settings: PreprocessSettings, reporter: Reporter) -> points68.Detector | None:
    """The network of 68 points, where it is wanted; where both are and it cannot be had, MediaPipe's stand alone.

    Raises:
        ModelError: nothing but face-alignment is wanted, and it cannot be had.
    """
    if settings.landmarks == "mediapipe":
        return None
    try:
        return points68.load()
    except ModelError as error:
        if settings.landmarks == "face-alignment":
            raise
        reporter.warn(f"{error.what} ({error.why}); landmarks are MediaPipe's alone")
        return None


class _Clock:
    """Seconds that each pass took."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self.since, 2)
        self.since = now


def _unusable(video: Path, frames: int, seen: str) -> InputError:
    return InputError(
        f"{video.name} has too few usable frames",
        why=f"{seen}; at least {MINIMUM_USABLE_FRAMES} must show one whole, sharp face",
        fix="film one person, face to the camera, well lit, for ten seconds or more; or take more of its frames "
        "(--start, --every, --max-frames)",
    )


def _publish(workspace: Workspace, partial: Path, count: int) -> None:
    """Move the finished pictures to their place; safe to repeat after a kill."""
    for folder in PUBLISHED:
        target = workspace.path("source", folder)
        names = [layout.frame_name(i) for i in range(count)]
        with atomic.disk_errors(target):
            target.mkdir(parents=True, exist_ok=True)
            for name in names:
                if (made := partial / folder / name).exists():
                    os.replace(made, target / name)
            for stale in {file.name for file in target.iterdir()} - set(names):
                (target / stale).unlink()
    plate = workspace.path(layout.BACKGROUND)
    with atomic.disk_errors(plate):
        if (partial / BACKGROUND).exists():
            os.replace(partial / BACKGROUND, plate)
        elif (partial / COMPLETE).read_text() == "no plate":
            plate.unlink(missing_ok=True)


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
