"""What the modes of `render` show, one picture after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headavatar.errors import UsageError
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.methods.base import Avatar
from headavatar.render import panels
from headavatar.render.avatars import BACKGROUNDS, draw
from headavatar.render.camera_files import in_world
from headavatar.render.cameras import Shot, swing
from headavatar.render.expressions import Handles
from headavatar.scene import Array, Camera, Clip, HeadParams

SWEEP_STEPS = 5
"""Pictures per expression, from low to high."""

ORBIT_FRAMES = 60
SWING_FRAMES = 100

FACE_M = 0.115
"""Half the side of what a sheet shows of a head, metres."""
FACE_MIDDLE_M = np.array([0.0, 0.0, 0.06])
"""Head space: at the nose, so that brows and chin both lie on the sheet."""
SHEET_CAPTION_PX = 22

HEAD_MIDDLE_M = np.array([0.0, 0.03, 0.04])
"""Head space: between the temples, what an orbit turns around."""


def frame_range(text: str, count: int) -> range:
    """Frames named by "A:B", as Python slices them.

    Raises:
        UsageError: the text is not a range, or holds no frame of the clip.
    """
    if not text:
        return range(count)
    first, separator, last = text.partition(":")
    try:
        if not separator:
            raise ValueError
        chosen = range(count)[int(first) if first else 0 : int(last) if last else count]
    except ValueError:
        raise UsageError(
            f"{text!r} is not a range of frames.", why="It should read A:B.", fix="For example --frames 0:100."
        ) from None
    if not chosen:
        raise UsageError(
            f"No frame lies in {text}.", why=f"The clip has {count} usable frames.", fix=f"Use --frames 0:{count}."
        )
    return chosen


def self_pair(avatar: Avatar, clip: Clip, frame: int, camera: Camera, background: str = "white") -> tuple[Array, Array]:
    """The real head and the avatar's, of one frame, over the same background.

    Args:
        frame: position among the clip's usable frames.
        camera: the clip's camera, at the size to render.
    Returns:
        truth and prediction, both (H, W, 3) uint8; what lies outside the real picture is background in both.
    """
    return _beside(clip, frame, camera, draw(avatar, clip.params[frame], camera, background), background)


def self_panel(clip: Clip, frame: int, camera: Camera, drawn: Array, method: str, background: str = "white") -> Array:
    """Truth beside the avatar; a frame that fit never saw carries an orange border and the word.

    Args:
        frame, camera: as of `self_pair`.
        drawn: (H, W, 3) uint8 the avatar of that frame.
        method: named above it.
    """
    truth, predicted = _beside(clip, frame, camera, drawn, background)
    if frame in clip.split.holdout:
        return panels.side_by_side([
            panels.caption(panels.bordered(truth, panels.HOLDOUT), "video, held out", panels.HOLDOUT),
            panels.caption(panels.bordered(predicted, panels.HOLDOUT), "avatar, held out", panels.HOLDOUT),
        ])  # fmt: skip
    return panels.side_by_side([panels.caption(truth, "video"), panels.caption(predicted, f"avatar ({method})")])


def _beside(clip: Clip, frame: int, camera: Camera, drawn: Array, background: str) -> tuple[Array, Array]:
    alpha = np.where(clip.valid, clip.mattes[frame], 0).astype(np.uint8)
    truth = panels.composite(clip.images[frame], alpha, BACKGROUNDS[background])
    truth = panels.resize(truth, camera.width, camera.height)
    seen = panels.resize(np.where(clip.valid, 255, 0).astype(np.uint8), camera.width, camera.height)
    return truth, panels.composite(drawn, seen, BACKGROUNDS[background])


def orbit(rest: HeadParams, camera: Camera, degrees: float) -> list[Shot]:
    """The resting head from a camera that goes around it on a flat ellipse.

    Args:
        rest: one frame (T = 1).
        camera: the clip's.
        degrees: yaw to either side; a third of it up and down.
    """
    return _turned(rest, camera, swing(camera, _placed(rest, HEAD_MIDDLE_M), ORBIT_FRAMES, degrees, degrees / 3))


def yaw_swing(rest: HeadParams, camera: Camera, degrees: float) -> list[Shot]:
    """The resting head from a camera that swings to one side, to the other, and back, as the paper shows its heads.

    Source:
        NeRFBlendShape's novel views: ±15 degrees of yaw in 100 frames.
    """
    return _turned(rest, camera, swing(camera, _placed(rest, HEAD_MIDDLE_M), SWING_FRAMES, degrees, 0.0))


def views(rest: HeadParams, camera: Camera, cameras: Sequence[Camera], in_head_space: bool) -> list[Shot]:
    """The resting head from given cameras.

    Args:
        rest: one frame (T = 1).
        camera: the clip's.
        cameras: of the clip's world, or of head space.
    """
    pose = Shot(rest, camera).head_to_world
    return _turned(rest, camera, [in_world(one, pose) if in_head_space else one for one in cameras])


def _turned(rest: HeadParams, camera: Camera, seen: Sequence[Camera]) -> list[Shot]:
    return [Shot(rest, view).seen_by(camera) for view in seen]


def _placed(rest: HeadParams, point_m: Array) -> Array:
    """(3,) a point of head space where the head stands in the world, metres."""
    pose = axis_angle_to_matrix_np(np.asarray(rest.rotation[0], np.float64))
    return np.asarray(pose @ point_m + rest.translation[0])


def expression_steps(
    avatar: Avatar, handles: Handles, index: int, rest: HeadParams, camera: Camera, background: str = "white"
) -> list[tuple[float, Array]]:
    """One expression from the least to the most that training showed, the others at rest.

    Args:
        index: of the expression among `handles`.
        rest: one frame (T = 1).
    Returns:
        `SWEEP_STEPS` values, and pictures (H, W, 3) uint8.
    """
    low, high = float(handles.low[index]), float(handles.high[index])
    values = low + (high - low) * np.linspace(0.0, 1.0, SWEEP_STEPS)
    name = handles.names[index]
    return [(float(v), draw(avatar, handles.put(rest, {name: v}), camera, background)) for v in values]


def there_and_back(name: str, steps: Sequence[tuple[float, Array]]) -> list[Array]:
    """Captioned pictures of a sweep: up, and down again."""
    up = [panels.caption(picture, f"{name} {value:.2f}") for value, picture in steps]
    return [*up, *up[-2::-1]]


def strip(name: str, steps: Sequence[tuple[float, Array]], box: tuple[slice, slice], width_px: int) -> Array:
    """A sweep as a row of small pictures, lowest value first.

    Args:
        box: rows and columns to show, see `face_box`.
        width_px: of each picture.
    """
    small = [panels.resize(np.ascontiguousarray(picture[box]), width_px, width_px) for _, picture in steps]
    text = f"{name}  {steps[0][0]:.2f} to {steps[-1][0]:.2f}"
    return panels.caption(panels.side_by_side(small), text, height_px=SHEET_CAPTION_PX)


def face_box(rest: HeadParams, camera: Camera) -> tuple[slice, slice]:
    """Rows and columns of the square that holds the face, as much of it as lies in the picture."""
    (u, v), depth = camera.project(_placed(rest, FACE_MIDDLE_M))
    half = float(camera.K[0, 0]) * FACE_M / float(depth)
    half = int(max(4, min(half, camera.width / 2, camera.height / 2)))
    column = int(np.clip(round(float(u)) - half, 0, camera.width - 2 * half))
    row = int(np.clip(round(float(v)) - half, 0, camera.height - 2 * half))
    return slice(row, row + 2 * half), slice(column, column + 2 * half)
