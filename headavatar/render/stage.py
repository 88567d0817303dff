"""`render`: an avatar beside the real frames, from all around, and through every expression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from headavatar.errors import UsageError
from headavatar.progress import RunContext, Task
from headavatar.render import panels, sequences
from headavatar.render.avatars import draw, open_avatar
from headavatar.render.neutral import neutral_frame
from headavatar.render.settings import RenderSettings
from headavatar.render.video import VideoWriter
from headavatar.scene import ARKIT_NAMES, Array, Camera
from headavatar.workspace import Workspace, load_clip

SWEEP_COLUMNS = 9
THUMBNAIL_PX = 160
LOOP_FPS = 30.0


def run(workspace: Workspace, settings: RenderSettings, context: RunContext) -> dict[str, Any]:
    """Render an avatar.

    Args:
        workspace: fitted.
        settings: what to draw.
        context: progress and device.
    Returns:
        avatar's name and method, the files written relative to the workspace, pictures drawn, and the neutral frame.
    """
    opened = open_avatar(workspace, settings.avatar, context.device)
    avatar, name = opened.avatar, opened.name
    stills = sequences.parse_expression(settings.expression)
    clip = load_clip(workspace, opened.split, opened.with_torso)
    camera = sized(clip.camera, settings.size)
    modes = ("self", "orbit", "sweep") if settings.mode == "all" else (settings.mode,)
    rest_frame = neutral_frame(clip.params)
    rest = clip.params[rest_frame]
    files: list[str] = []
    pictures = 0

    if "self" in modes:
        frames = sequences.frame_range(settings.frames, len(clip))
        rel = f"renders/{name}-self.mp4"
        with context.reporter.task("self-reenactment", len(frames)) as task:
            drawn = sequences.self_reenactment(avatar, clip, frames, camera, settings.background)
            pictures += write_video(workspace, rel, counted(drawn, task), clip_fps(clip.times_s))
        files.append(rel)
    if "orbit" in modes:
        rel = f"renders/{name}-orbit.mp4"
        with context.reporter.task("orbit", sequences.ORBIT_FRAMES) as task:
            drawn = sequences.orbit(avatar, rest, camera, settings.orbit_deg, settings.background)
            pictures += write_video(workspace, rel, counted(drawn, task), LOOP_FPS)
        files.append(rel)
    if "sweep" in modes:
        rel = f"renders/{name}-sweep.mp4"
        peaks: list[Array] = []
        with context.reporter.task("expression sweep", len(ARKIT_NAMES) * sequences.SWEEP_FRAMES) as task:

            def remembered() -> Iterator[Array]:
                for _, full, picture in sequences.sweep(avatar, rest, camera, settings.background):
                    if full:
                        height = round(picture.shape[0] * THUMBNAIL_PX / picture.shape[1])
                        peaks.append(panels.resize(picture, THUMBNAIL_PX, height))
                    yield picture

            pictures += write_video(workspace, rel, counted(remembered(), task), LOOP_FPS)
        sheet = f"renders/{name}-sweep.png"
        workspace.write_image(sheet, panels.contact_sheet(peaks, SWEEP_COLUMNS))
        files += [rel, sheet]
    if stills:
        rel = f"renders/{name}-expression.png"
        posed = sequences.with_expression(rest, stills)
        workspace.write_image(rel, draw(avatar, posed, camera, settings.background))
        files.append(rel)
        pictures += 1
    return {
        "avatar": name, "method": avatar.method, "files": files, "pictures": pictures,
        "size": [camera.width, camera.height], "neutral_frame": int(clip.frame_idx[rest_frame]),
    }  # fmt: skip


def sized(camera: Camera, size: int) -> Camera:
    """The camera at another resolution; 0 keeps its own.

    Raises:
        UsageError: the size is not one that a picture can have.
    """
    if size == 0:
        return camera
    if not 16 <= size <= 4096:
        raise UsageError(f"--size {size} is not possible.", why="16 … 4096 pixels are.", fix="Try --size 512.")
    return camera.scaled(size, round(size * camera.height / camera.width))


def clip_fps(times_s: Array) -> float:
    """Frames per second of a clip whose rejected frames left gaps: from the median step."""
    if len(times_s) < 2:
        return LOOP_FPS
    return float(np.clip(1.0 / max(float(np.median(np.diff(times_s))), 1e-3), 1.0, 120.0))


def write_video(workspace: Workspace, rel: str, pictures: Iterable[Array], fps: float) -> int:
    """Write an MP4 of the workspace, atomically; returns the number of pictures."""
    with workspace.replace_file(rel) as path, VideoWriter(path, fps) as writer:
        for picture in pictures:
            writer.write(picture)
        count = writer.frames
    return count


def counted(pictures: Iterable[Array], task: Task) -> Iterator[Array]:
    """Pass pictures on, and count them on a progress bar."""
    for picture in pictures:
        yield picture
        task.advance()
