"""The `eval` stage: an avatar against frames that its fit never saw, beside two baselines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from headavatar.errors import InputError
from headavatar.evaluate.baselines import TexturedMesh, show_training_frame
from headavatar.evaluate.figures import FLICKER, Figures, compare, mean
from headavatar.evaluate.refined import measure, refinable
from headavatar.evaluate.settings import EvalSettings
from headavatar.methods import load_avatar
from headavatar.metrics.l1 import silhouette_iou
from headavatar.metrics.lpips import Lpips
from headavatar.metrics.temporal import temporal_difference_error
from headavatar.metrics.truth import face_mask, on_white, without_covered
from headavatar.ops import backend
from headavatar.progress import RunContext
from headavatar.scene import Array, Clip
from headavatar.workers import in_order
from headavatar.workspace import Workspace, load_clip, load_head, provenance
from headavatar.workspace.clips import read_image

NEAR_DEG = 2.0
COVERED = 13
"""Pixels that clothes cover by this much of 255 say nothing of the head's outline."""
MASK = "head without clothes, alpha matte by parsing; white in truth and prediction where the truth shows clothes"


def run(workspace: Workspace, settings: EvalSettings, context: RunContext) -> dict[str, Any]:
    """Measure an avatar on its holdout frames.

    Args:
        workspace: with the fitted avatar.
        settings: which avatar.
        context: device, seed, progress.
    Returns:
        what avatars/NAME/eval.json holds, without the figures of single frames.
    Raises:
        InputError: the split holds no frame out.
        UsageError: poses cannot be refined as asked.
    """
    folder = f"avatars/{settings.avatar}"
    fitted = workspace.read_json(f"{folder}/metrics.json")
    clip = load_clip(workspace, fitted["split"], fitted["with_torso"])
    if len(clip.split.holdout) == 0:
        raise InputError(
            "No frame is held out, so there is nothing to measure.", why=f"the clip has {len(clip)} usable frames",
            fix="use a longer clip",
        )  # fmt: skip
    avatar = load_avatar(workspace.path(folder), context.device)
    movable = refinable(avatar, settings)
    network = Lpips(settings.lpips_network, "cpu")  # type: ignore[arg-type]
    mesh = TexturedMesh(load_head(workspace), clip, read_image(workspace.path("track/texture.png")))
    names = ("avatar", "nearest_frame", "tracked_mesh")
    figures: dict[str, list[Figures]] = {name: [] for name in names}
    outlines: list[float] = []
    before: tuple[int, list[Array]] | None = None
    height, width = clip.valid.shape

    def drawn() -> Iterator[tuple[int, list[Array], Array]]:
        """Frames one after the other: their number, the truth and what is compared with it, and the face."""
        for frame in (int(i) for i in clip.split.holdout):
            seen = avatar.render(clip.params[frame], clip.camera)
            outlines.append(_outline(seen.alpha, clip, frame))
            pictures = seen.rgb, show_training_frame(clip, frame), mesh.render(frame)
            shown = [without_covered(picture, clip.covered, frame) for picture in pictures]
            truth = on_white(clip.images[frame], clip.mattes[frame])
            yield frame, [truth, *shown], face_mask(clip.landmarks[frame], height, width)

    def compared(one: tuple[int, list[Array], Array]) -> tuple[int, list[Array], list[Figures]]:
        frame, (truth, *shown), face = one
        return frame, [truth, *shown], [compare(network, picture, truth, clip.valid, face) for picture in shown]

    with context.reporter.task("eval", len(clip.split.holdout)) as task:
        for frame, shown, found in in_order(compared, drawn()):
            for name, row in zip(names, found, strict=True):
                figures[name].append(row)
            if before is not None and clip.frame_idx[frame] == clip.frame_idx[before[0]] + 1:
                for name, flicker in zip(names, _flicker(clip, (before[0], frame), before[1], shown), strict=True):
                    figures[name][-1][FLICKER] = flicker
            before = frame, shown
            task.advance(1, psnr=round(figures["avatar"][-1]["psnr"], 2))
    _side_by_side(workspace, folder, clip, avatar, mesh, [one["psnr"] for one in figures["avatar"]])
    video = workspace.read_json("source/video.json")
    summary: dict[str, Any] = {
        "avatar": settings.avatar, "method": avatar.method, "frames": len(clip.split.holdout),
        **mean(figures["avatar"]), "silhouette_iou": round(float(np.mean(outlines)), 5),
        "baselines": {name: mean(figures[name]) for name in names[1:]},
        "split": fitted["split"], "train_frames": len(clip.split.train),
        "within_2_deg_of_training": round(share_seen(clip), 4),
        "background": "white",
        "mask": "person, alpha matte" if fitted["with_torso"] else MASK,
        "crop": {
            "rectangle_px": video["crop"], "size_px": [width, height], "valid": round(float(clip.valid.mean()), 4),
        },
        "poses": "tracked, not refined against the avatar",
        "lpips_network": settings.lpips_network,
        "ssim_window": "gaussian 11, sigma 1.5",
        "hardware": provenance.hardware(), "backend": backend.current(context.device), "seed": context.seed,
        "versions": provenance.versions(),
    }  # fmt: skip
    refined: dict[int, Figures] = {}
    if movable is not None:
        summary["refined"], refined = measure(clip, movable, network, settings, context, figures["avatar"])
    if failures := below_gate(summary):
        summary["below_gate"] = failures
    rows = [
        {"frame": int(clip.frame_idx[frame]), **{name: figures[name][i] for name in names},
         **({"refined": refined[i]} if i in refined else {})}
        for i, frame in enumerate(clip.split.holdout)
    ]  # fmt: skip
    workspace.write_json(f"{folder}/eval.json", {**summary, "per_frame": rows})
    return summary


def below_gate(summary: dict[str, Any]) -> list[str]:
    """What --strict objects to: figures in which a baseline does better than the avatar."""
    failures = []
    for baseline, figures in summary["baselines"].items():
        for name, better in (("psnr", 1), ("ssim", 1), ("lpips", -1)):
            if (summary[name] - figures[name]) * better < 0:
                failures.append(f"{name} {summary[name]:.4g}, {baseline.replace('_', ' ')} {figures[name]:.4g}")
    return failures


def share_seen(clip: Clip) -> float:
    """Share of the holdout frames whose head rotation lies within 2 degrees of a training frame's."""
    from headavatar.head.rotations import axis_angle_to_matrix_np

    matrices = axis_angle_to_matrix_np(np.asarray(clip.params.rotation, np.float64))
    held, train = matrices[clip.split.holdout], matrices[clip.split.train]
    # trace(AᵀB) = 1 + 2 cos of the angle between two rotations.
    cosine = (np.einsum("aij,bij->ab", held, train) - 1) / 2
    nearest = np.degrees(np.arccos(np.clip(cosine.max(1), -1, 1)))
    return float((nearest <= NEAR_DEG).mean())


def _flicker(clip: Clip, frames: tuple[int, int], before: list[Array], after: list[Array]) -> list[float]:
    """Temporal difference errors of pictures whose first is the truth, within the head of either frame."""
    head = clip.valid & (np.maximum(*(np.asarray(clip.mattes[frame]) for frame in frames)) > 127)
    if not head.any():
        return [0.0] * (len(after) - 1)
    truths = before[0], after[0]
    return [temporal_difference_error(pair, truths, head) for pair in zip(before[1:], after[1:], strict=True)]


def _outline(alpha: Array, clip: Clip, frame: int) -> float:
    """IoU of what is drawn with the matte, where clothes hide nothing."""
    counted = clip.valid if clip.covered is None else clip.valid & (np.asarray(clip.covered[frame]) < COVERED)
    return silhouette_iou(alpha, np.asarray(clip.mattes[frame]) / 255, counted)


def _side_by_side(
    workspace: Workspace, folder: str, clip: Clip, avatar: Any, mesh: TexturedMesh, scores: list[float]
) -> None:
    """Write the best, median and worst frame: truth, avatar, nearest training frame, tracked mesh."""
    order = np.argsort(scores)
    chosen = {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}
    for name, place in chosen.items():
        frame = int(clip.split.holdout[int(place)])
        pictures = [
            on_white(clip.images[frame], clip.mattes[frame]), avatar.render(clip.params[frame], clip.camera).rgb,
            show_training_frame(clip, frame), mesh.render(frame),
        ]  # fmt: skip
        row: Array = np.concatenate([without_covered(p, clip.covered, frame) for p in pictures], axis=1)
        workspace.write_image(f"{folder}/previews/eval_{name}.png", (row.clip(0, 1) * 255).round().astype(np.uint8))
