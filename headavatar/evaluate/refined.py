"""Another figure: holdout frames whose poses, and by choice expressions, are refined against the avatar itself.

It says what the avatar could show if the tracking were perfect, and how far the tracking is off. It is no measure of
what a person gets, so it stands beside the figures of tracked poses under a name of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from headavatar.errors import UsageError
from headavatar.evaluate.figures import Figures, compare, mean
from headavatar.evaluate.settings import EvalSettings
from headavatar.methods import Avatar
from headavatar.methods.base import Refinable
from headavatar.methods.refinement import refine
from headavatar.metrics.lpips import Lpips
from headavatar.metrics.truth import face_mask, on_white, without_covered
from headavatar.progress import RunContext
from headavatar.scene import Array, Clip

NEAR = 1 / 28
"""Pixels this share of the picture's edge away from the head still say where its outline is."""
WHAT = {
    "pose": "refined against the avatar, frame by frame",
    "pose+expression": "refined against the avatar with expressions, frame by frame",
}


def refinable(avatar: Avatar, settings: EvalSettings) -> Refinable | None:
    """The avatar, if poses are to be refined against it; None if not. To be asked before anything is measured.

    Raises:
        UsageError: its method does not say how its pictures change with the pose.
    """
    if settings.refine == "none":
        return None
    if not isinstance(avatar, Refinable):
        raise UsageError(
            f"Poses cannot be refined against an avatar of {avatar.method}.",
            why="its pictures carry no gradients", fix="leave --refine out",
        )  # fmt: skip
    return avatar


def measure(
    clip: Clip,
    avatar: Refinable,
    network: Lpips,
    settings: EvalSettings,
    context: RunContext,
    tracked: Sequence[Figures],
) -> tuple[dict[str, Any], dict[int, Figures]]:
    """Refine holdout frames one by one and compare again.

    Args:
        clip: with its split.
        avatar: is not changed.
        network: of LPIPS.
        settings: what is refined, and of which frames.
        context: seed, progress.
        tracked: figures of every holdout frame with its tracked parameters.
    Returns:
        the means with how far frames moved and the same frames' figures before, and place in the holdout → figures.
    """
    places = range(0, len(clip.split.holdout), settings.refine_every)
    found: dict[int, Figures] = {}
    sizes: list[tuple[float, float]] = []
    with context.reporter.task("refine", len(places)) as task:
        for place in places:
            frame = int(clip.split.holdout[place])
            truth = on_white(clip.images[frame], clip.mattes[frame])
            residual = refine(
                avatar, clip.params[frame], clip.camera, truth, compared(clip, frame),
                expression=settings.refine == "pose+expression", seed=context.seed,
            )  # fmt: skip
            params = residual.applied(clip.params[frame], avatar.answers_to)
            picture = without_covered(avatar.render(params, clip.camera).rgb, clip.covered, frame)
            face = face_mask(clip.landmarks[frame], *clip.valid.shape)
            found[place] = compare(network, picture, truth, clip.valid, face)
            degrees, millimeters = residual.sizes()
            sizes.append((float(degrees[0]), float(millimeters[0])))
            task.advance(1, psnr=round(found[place]["psnr"], 2))
    moved = np.mean(sizes, 0)
    summary = {
        "poses": WHAT[settings.refine], "frames": len(found), **mean(list(found.values())),
        "tracked": mean([tracked[place] for place in places]),
        "moved_deg": round(float(moved[0]), 4), "moved_mm": round(float(moved[1]), 4),
    }  # fmt: skip
    return summary, found


def compared(clip: Clip, frame: int) -> Array:
    """(H, W) bool: the head and a rim around it, without what clothes cover or the crop lacks."""
    matte = np.asarray(clip.mattes[frame])
    rim = 2 * round(NEAR * max(matte.shape) / 2) + 1
    near = cv2.dilate(matte, np.ones((rim, rim), np.uint8)) > 0
    if clip.covered is not None:
        near &= np.asarray(clip.covered[frame]) == 0
    counted: Array = near & clip.valid
    return counted
