"""`render`: an avatar beside the real frames, from all around, and through every expression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.errors import UsageError
from headavatar.progress import RunContext, Task
from headavatar.render import panels, sequences
from headavatar.render.avatars import BACKGROUNDS, Opened, open_avatar
from headavatar.render.camera_files import read_cameras
from headavatar.render.cameras import Shot, degrees_from, seats
from headavatar.render.expressions import Handles
from headavatar.render.maps import MapWriter
from headavatar.render.neutral import neutral_frame, rest_of
from headavatar.render.settings import RenderSettings
from headavatar.render.solid import Solid
from headavatar.render.video import VideoWriter
from headavatar.scene import Array, Camera, Clip, HeadParams
from headavatar.workspace import Workspace, load_clip

SHEET_COLUMNS = 4
THUMBNAIL_PX = 96
LOOP_FPS = 30.0
UNSEEN_DEG = 5.0
"""A view this far from every rotation of training shows what nobody has seen."""


@dataclass(frozen=True)
class _Studio:
    """What every mode draws with."""

    workspace: Workspace
    context: RunContext
    settings: RenderSettings
    opened: Opened
    clip: Clip
    camera: Camera
    rest: HeadParams
    handles: Handles
    solid: Solid | None

    def stem(self, mode: str) -> str:
        return f"renders/{self.opened.name}-{mode}"

    def warn_of_unseen(self, what: str, shots: Sequence[Shot]) -> str:
        """Say how many views lie where training has no picture."""
        turned = HeadParams.neutral(len(shots), self.rest.identity)
        turned = replace(turned, rotation=np.concatenate([shot.params.rotation for shot in shots]))
        far = degrees_from(turned, self.clip.params[self.clip.split.train]) > UNSEEN_DEG
        if not far.any():
            return ""
        note = (
            f"{what}: {int(far.sum())} of {len(shots)} views lie more than {UNSEEN_DEG:.0f} degrees from any head pose "
            "of training; they are guesses."
        )
        self.context.reporter.warn(note)
        return note


def run(workspace: Workspace, settings: RenderSettings, context: RunContext) -> dict[str, Any]:
    """Render an avatar.

    Args:
        workspace: fitted.
        settings: what to draw.
        context: progress and device.
    Returns:
        avatar's name and method, the files written relative to the workspace, pictures drawn, the neutral frame, and
        notes on what training never showed.
    """
    opened = open_avatar(workspace, settings.avatar, context.device)
    handles = Handles.of(opened.avatar)
    values = handles.parse(settings.expression)
    if settings.mode == "views" and not settings.cameras:
        raise UsageError("There are no cameras.", why="Mode views needs a file of them.", fix="Add --cameras FILE.")
    clip = load_clip(workspace, opened.split, opened.with_torso)
    camera = sized(clip.camera, settings.size)
    rest = handles.put(rest_of(clip.params), values)
    solid = Solid(opened.avatar, rest, seats(clip)) if settings.look == "surface" else None
    studio = _Studio(workspace, context, settings, opened, clip, camera, rest, handles, solid)
    notes = handles.beyond(values)
    for note in notes:
        context.reporter.warn(note)
    modes = ["self", "orbit", "sweep"] if settings.mode == "all" else [settings.mode]
    modes += ["still"] if values and "still" not in modes else []
    files: list[str] = []
    pictures = 0
    for mode in modes:
        written, drawn, said = _MODES[mode](studio)
        files += written
        pictures += drawn
        notes += [said] if said else []
    return {
        "avatar": opened.name, "method": opened.avatar.method, "files": files, "pictures": pictures,
        "size": [camera.width, camera.height], "neutral_frame": int(clip.frame_idx[neutral_frame(clip.params)]),
        "notes": notes,
    }  # fmt: skip


_Written = tuple[list[str], int, str]


def _self(studio: _Studio) -> _Written:
    clip, settings = studio.clip, studio.settings
    frames = sequences.frame_range(settings.frames, len(clip))

    def beside(number: int, drawn: Array) -> Array:
        method = studio.opened.avatar.method
        return sequences.self_panel(clip, frames[number], studio.camera, drawn, method, settings.background)

    shots = (Shot(clip.params[frame], studio.camera) for frame in frames)
    return _film(studio, "self", shots, len(frames), clip_fps(clip.times_s), beside)


def _orbit(studio: _Studio) -> _Written:
    shots = sequences.orbit(studio.rest, studio.camera, studio.settings.orbit_deg)
    return _film(studio, "orbit", shots, len(shots), LOOP_FPS, said=studio.warn_of_unseen("orbit", shots))


def _swing(studio: _Studio) -> _Written:
    shots = sequences.yaw_swing(studio.rest, studio.camera, studio.settings.orbit_deg)
    return _film(studio, "swing", shots, len(shots), LOOP_FPS, said=studio.warn_of_unseen("swing", shots))


def _still(studio: _Studio) -> _Written:
    return _picture(studio, "expression" if studio.settings.expression else "still", Shot(studio.rest, studio.camera))


def _views(studio: _Studio) -> _Written:
    cameras, in_head_space = read_cameras(Path(studio.settings.cameras))
    side = studio.settings.size or cameras[0].width
    first = sized(cameras[0], side)
    cameras = [view.scaled(first.width, first.height) for view in cameras]
    shots = sequences.views(studio.rest, studio.clip.camera, cameras, in_head_space)
    said = studio.warn_of_unseen("views", shots)
    if len(shots) == 1:
        return _picture(studio, "views", shots[0], said)
    return _film(studio, "views", shots, len(shots), LOOP_FPS, said=said)


def _sweep(studio: _Studio) -> _Written:
    handles, moving = studio.handles, studio.handles.moving
    if not moving:
        return [], 0, "sweep: no expression moved in training."
    strips: list[Array] = []
    box = sequences.face_box(studio.rest, studio.camera)

    def drawn(task: Task) -> Iterator[Array]:
        for index in moving:
            steps = sequences.expression_steps(
                studio.opened.avatar, handles, index, studio.rest, studio.camera, studio.settings.background
            )
            strips.append(sequences.strip(handles.names[index], steps, box, THUMBNAIL_PX))
            yield from sequences.there_and_back(handles.names[index], steps)
            task.advance()

    stem = studio.stem("sweep")
    with studio.context.reporter.task("expression sweep", len(moving)) as task:
        count = write_video(studio.workspace, f"{stem}.mp4", drawn(task), LOOP_FPS)
    studio.workspace.write_image(f"{stem}.png", panels.contact_sheet(strips, SHEET_COLUMNS))
    without = [name for index, name in enumerate(handles.names) if index not in moving]
    said = f"sweep: without effect, since training never showed them: {', '.join(without)}." if without else ""
    return [f"{stem}.mp4", f"{stem}.png"], count, said


_MODES: dict[str, Callable[[_Studio], _Written]] = {
    "self": _self, "orbit": _orbit, "swing": _swing, "sweep": _sweep, "still": _still, "views": _views,
}  # fmt: skip


def _film(
    studio: _Studio, mode: str, shots: Iterable[Shot], count: int, fps: float,
    panel: Callable[[int, Array], Array] = lambda number, drawn: drawn, said: str = "",
) -> _Written:  # fmt: skip
    """Draw shots into a video, and their maps where those were asked for."""
    with ExitStack() as stack:
        task = stack.enter_context(studio.context.reporter.task(mode, count))
        path = stack.enter_context(studio.workspace.replace_file(f"{studio.stem(mode)}.mp4"))
        writer = stack.enter_context(VideoWriter(path, fps))
        maps = (
            stack.enter_context(MapWriter(studio.workspace, studio.stem(mode), fps)) if studio.settings.maps else None
        )
        for number, shot in enumerate(shots):
            writer.write(panel(number, _draw(studio, shot, maps)))
            task.advance()
    return [f"{studio.stem(mode)}.mp4", *(maps.files if maps else [])], count, said


def _picture(studio: _Studio, mode: str, shot: Shot, said: str = "") -> _Written:
    """Draw one shot."""
    rel, extra = f"{studio.stem(mode)}.png", []
    if studio.settings.maps:
        with MapWriter(studio.workspace, studio.stem(mode), None) as maps:
            picture = _draw(studio, shot, maps)
        extra = maps.files
    else:
        picture = _draw(studio, shot, None)
    studio.workspace.write_image(rel, picture)
    return [rel, *extra], 1, said


def _draw(studio: _Studio, shot: Shot, maps: MapWriter | None) -> Array:
    background = BACKGROUNDS[studio.settings.background]
    if studio.solid is not None and shot.params.expression is studio.rest.expression:  # none of the clip's own faces
        rendered = studio.solid.render(shot, background)
    else:
        rendered = studio.opened.avatar.render(shot.params, shot.camera, background)
    if maps is not None:
        maps.write(rendered, background, shot)
    return panels.to_uint8(rendered.rgb)


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
