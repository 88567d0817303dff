"""What the three modes of `render` show, one picture after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from headavatar.errors import UsageError
from headavatar.methods.base import Avatar
from headavatar.render import panels
from headavatar.render.avatars import BACKGROUNDS, draw
from headavatar.render.cameras import swing
from headavatar.scene import ARKIT_NAMES, Array, Camera, Clip, HeadParams

SWEEP_FRAMES = 9
"""Pictures per expression: up, at the full for one, and down."""

ORBIT_FRAMES = 60

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
    alpha = np.where(clip.valid, clip.mattes[frame], 0).astype(np.uint8)
    truth = panels.composite(clip.images[frame], alpha, BACKGROUNDS[background])
    truth = panels.resize(truth, camera.width, camera.height)
    seen = panels.resize(np.where(clip.valid, 255, 0).astype(np.uint8), camera.width, camera.height)
    return truth, panels.composite(draw(avatar, clip.params[frame], camera, background), seen, BACKGROUNDS[background])


def self_reenactment(
    avatar: Avatar, clip: Clip, frames: range, camera: Camera, background: str = "white"
) -> Iterator[Array]:
    """Truth beside the avatar; frames that fit never saw carry an orange border and the word."""
    holdout = set(clip.split.holdout.tolist())
    for frame in frames:
        truth, predicted = self_pair(avatar, clip, frame, camera, background)
        pair = [panels.caption(truth, "video"), panels.caption(predicted, f"avatar ({avatar.method})")]
        if frame in holdout:
            pair = [
                panels.caption(panels.bordered(truth, panels.HOLDOUT), "video, held out", panels.HOLDOUT),
                panels.caption(panels.bordered(predicted, panels.HOLDOUT), "avatar, held out", panels.HOLDOUT),
            ]
        yield panels.side_by_side(pair)


def orbit(
    avatar: Avatar, rest: HeadParams, camera: Camera, degrees: float, background: str = "white"
) -> Iterator[Array]:
    """The resting head seen from a camera that swings around it.

    Args:
        rest: one frame (T = 1); it is turned to face the camera.
        degrees: yaw to either side.
    """
    frontal = replace(rest, rotation=np.zeros((1, 3), np.float32))
    pivot = rest.translation[0] + HEAD_MIDDLE_M
    for view in swing(camera, pivot, ORBIT_FRAMES, degrees, degrees / 3):
        yield draw(avatar, frontal, view, background)


def sweep(
    avatar: Avatar, rest: HeadParams, camera: Camera, background: str = "white"
) -> Iterator[tuple[int, bool, Array]]:
    """Every expression in turn, from rest to the most that training showed, and back.

    Args:
        rest: one frame (T = 1).
    Yields:
        position of the expression in `ARKIT_NAMES`, whether it is at its full, and the labeled picture.
    """
    top = np.asarray(avatar.expression_range[1])
    middle = SWEEP_FRAMES // 2
    rise = np.sin(np.pi / 2 * np.arange(middle + 1) / middle) ** 2
    at_rest = draw(avatar, rest, camera, background)
    for i, name in enumerate(ARKIT_NAMES):
        start = float(rest.expression[0, i])
        reach = max(float(top[i]) - start, 0.0)
        pictures = []
        for share in rise:
            value = start + share * reach
            moved = share * reach > 0
            picture = draw(avatar, with_expression(rest, {name: value}), camera, background) if moved else at_rest
            pictures.append(panels.caption(picture, f"{name} {value:.2f}"))
        for k, picture in enumerate([*pictures, *pictures[-2::-1]]):  # the way down shows the way up again
            yield i, k == middle, picture


def parse_expression(text: str) -> dict[str, float]:
    """Read "jawOpen=0.6,browInnerUp=1".

    Raises:
        UsageError: a name is not one of ARKit's, or a value not a number in [0, 1].
    """
    import difflib

    values: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        name = name.strip()
        if name not in ARKIT_NAMES:
            near = difflib.get_close_matches(name, ARKIT_NAMES, n=1)
            raise UsageError(
                f"There is no expression called {name!r}.",
                why="Expressions have ARKit's 52 names.",
                fix=f"Did you mean {near[0]}?" if near else "For example --expression jawOpen=0.6.",
            )
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not 0.0 <= value <= 1.0:
            raise UsageError(
                f"{part!r} gives no number between 0 and 1.", why=f"{name} needs one.", fix=f"For example {name}=0.6."
            )
        values[name] = value
    return values


def with_expression(rest: HeadParams, values: dict[str, float]) -> HeadParams:
    """The frame with some coefficients replaced."""
    expression = np.array(rest.expression, np.float32, copy=True)
    for name, value in values.items():
        expression[:, ARKIT_NAMES.index(name)] = value
    return replace(rest, expression=expression)
