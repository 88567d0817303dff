"""`reenact`: SRC drives, the workspace's avatar is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headavatar.errors import UsageError
from headavatar.head.model import load
from headavatar.methods.base import Avatar
from headavatar.progress import RunContext
from headavatar.reenact.motion import Motion, read_motion
from headavatar.reenact.settings import ReenactSettings
from headavatar.reenact.transfer import smooth, transfer_absolute, transfer_relative
from headavatar.render import panels
from headavatar.render.avatars import background_plate, draw, open_avatar
from headavatar.render.expressions import Handles
from headavatar.render.neutral import neutral_frame, rest_of
from headavatar.render.sequences import frame_range
from headavatar.render.stage import clip_fps, counted, sized, write_video
from headavatar.scene import Array, Camera, HeadParams
from headavatar.workspace import Workspace, load_clip

SHEET_PAIRS = 24
SHEET_COLUMNS = 6
THUMBNAIL_PX = 160


@dataclass(frozen=True)
class Driver:
    """SRC, opened: its motion, and its picture of a frame where it has some."""

    motion: Motion
    picture: Callable[[int], Array] | None


def run(workspace: Workspace, settings: ReenactSettings, context: RunContext) -> dict[str, Any]:
    """Drive an avatar with somebody's motion.

    Args:
        workspace: the target's, fitted.
        settings: SRC and how to transfer.
        context: progress and device.
    Returns:
        driver and target by name, the transfer, the two neutral frames, files written, frames.
    """
    opened = open_avatar(workspace, settings.avatar, context.device)
    driver = open_driver(settings.src)
    motion = driver.motion
    clip = load_clip(workspace, opened.split, opened.with_torso)
    camera = sized(clip.camera, settings.size)
    context.reporter.detail(f"{motion.name} drives; {workspace.name}'s avatar {opened.name!r} is seen.")

    interpupil = interpupil_m(opened.avatar.head_model, clip.params.identity)
    source_at, source_rest = _rest(motion.params, motion.frame_idx, settings.src_neutral)
    target_at, target_rest = _rest(clip.params, clip.frame_idx, settings.tgt_neutral)
    if settings.transfer == "absolute":
        driven = transfer_absolute(motion, clip.params)
    else:
        driven = transfer_relative(
            motion, source_rest, clip.params, target_rest,
            interpupil_m=interpupil, range_gain=settings.gain == "range",
            movement=settings.movement,
        )  # fmt: skip
    driven = smooth(driven, settings.smooth)
    frames = frame_range(settings.frames, len(motion))
    shown = driver.picture if settings.side_by_side else None

    stem = f"renders/{opened.name}-driven-by-{motion.name}"
    sheet_frames = set(np.unique(np.linspace(0, len(frames) - 1, min(SHEET_PAIRS, len(frames))).astype(int)).tolist())
    thumbnails: list[Array] = []
    with context.reporter.task("reenactment", len(frames)) as task:

        def remembered() -> Iterator[Array]:
            for i, frame in enumerate(frames):
                seen = panels.caption(draw(opened.avatar, driven[frame], camera, settings.background), "avatar")
                picture = seen if shown is None else _beside(shown(frame), motion.name, camera, seen)
                if i in sheet_frames:
                    width = THUMBNAIL_PX * (2 if shown is not None else 1)
                    thumbnails.append(panels.resize(picture, width, round(picture.shape[0] * width / picture.shape[1])))
                yield picture

        count = write_video(workspace, f"{stem}.mp4", counted(remembered(), task), clip_fps(motion.times_s))
    workspace.write_image(f"{stem}.png", panels.contact_sheet(thumbnails, SHEET_COLUMNS))
    workspace.write_npz(f"{stem}.npz", **replace(motion, params=driven, interpupil_m=interpupil).arrays())
    return {
        "driver": motion.name, "target": workspace.name, "avatar": opened.name, "method": opened.avatar.method,
        "transfer": settings.transfer, "src_neutral": int(motion.frame_idx[source_at]),
        "tgt_neutral": int(clip.frame_idx[target_at]), "frames": count,
        "beyond_range": beyond_range(driven, opened.avatar), "files": [f"{stem}.mp4", f"{stem}.png", f"{stem}.npz"],
    }  # fmt: skip


def open_driver(src: str) -> Driver:
    """Open SRC.

    Args:
        src: path of a tracked workspace, or of a motion .npz.
    Raises:
        UsageError: none was given.
        InputError, WorkspaceError: it cannot be read.
    """
    if not src:
        raise UsageError("Who drives?", why="No SRC was given.", fix="headavatar reenact SRC TGT")
    if Path(src).suffix == ".npz":
        return Driver(read_motion(src), None)
    workspace = Workspace.open(src)
    clip = load_clip(workspace)
    model = str(workspace.read_npz("track/params.npz")["head_model"])
    motion = Motion(
        workspace.name, clip.params, clip.times_s, clip.frame_idx, interpupil_m(model, clip.params.identity)
    )
    people, plate = load_clip(workspace, with_torso=True).mattes, background_plate(workspace, clip.camera)

    def picture(frame: int) -> Array:
        # frames carry the person's own color in soft edges: put together again with what is behind
        return panels.composite(clip.images[frame], people[frame], (1.0, 1.0, 1.0) if plate is None else plate)

    return Driver(motion, picture)


def interpupil_m(head_model: str, identity: Array) -> float:
    """Distance between a person's eye joints, metres."""
    model = load(head_model)
    joints = model.joint_positions(torch.as_tensor(np.asarray(identity, np.float32))).numpy()
    left, right = (joints[model.joints.index(name)] for name in ("eye_left", "eye_right"))
    return float(np.linalg.norm(left - right))


def beyond_range(driven: HeadParams, avatar: Avatar) -> float:
    """Share of frames in which the driver asks for more of some expression than the avatar has seen, by over 0.1."""
    handles = Handles.of(avatar)
    over = handles.values(driven) - handles.high
    return float((over.max(axis=1) > 0.1).mean())


def _rest(params: HeadParams, frame_idx: Array, frame: int) -> tuple[int, HeadParams]:
    """Position of the frame at rest, and the rest (T = 1): the frame that was named, or what the clip tells."""
    if frame < 0:
        return neutral_frame(params), rest_of(params)
    at = int(np.argmin(np.abs(np.asarray(frame_idx) - frame)))
    return at, params[at]


def _beside(image: Array, name: str, camera: Camera, seen: Array) -> Array:
    source = panels.resize(image, camera.width, camera.height)
    return panels.side_by_side([panels.caption(source, f"driver: {name}"), seen])
