"""The `fit` stage: a tracked clip in, an avatar out."""

from __future__ import annotations

import dataclasses
import gc
import time
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.errors import InputError, OutOfMemory
from headavatar.fit import loop, released
from headavatar.fit.checkpoints import Checkpoints
from headavatar.fit.settings import FitSettings
from headavatar.methods import Avatar, MethodSpec, get, trainer_class
from headavatar.metrics.psnr import psnr
from headavatar.metrics.truth import on_white, without_covered
from headavatar.ops import backend
from headavatar.progress import RunContext
from headavatar.scene import Clip
from headavatar.workspace import Workspace, load_clip, load_head

FEWEST_FRAMES = 8


def run(workspace: Workspace, settings: FitSettings, context: RunContext) -> dict[str, Any]:
    """Fit an avatar to the workspace's clip.

    Args:
        workspace: preprocessed and tracked.
        settings: with the method's settings resolved.
        context: device, seed, progress.
    Returns:
        figures of the fit, JSON-able.
    Raises:
        InputError: too few frames to train on.
        OutOfMemory: also at the smallest steps.
    """
    spec = get(settings.method)
    clip = load_clip(workspace, settings.split, settings.with_torso)
    if settings.released == "none" and len(clip.split.train) < FEWEST_FRAMES:
        raise InputError(
            f"Only {len(clip.split.train)} frames are left to train on.",
            why=f"{len(clip)} of the clip's frames are usable, and the split holds some out",
            fix="use a longer clip, or fewer skipped frames (`preprocess --every 1`)",
        )
    began = time.monotonic()
    if settings.released == "none":
        avatar, rows, steps = _fit_within_memory(workspace, clip, spec, settings, context)
    else:
        avatar, steps = released.avatar(workspace, Path(settings.weights), settings.name, context.device), 0
        rows = released.rows(HoldoutLook(workspace, clip, settings.name, settings.preview_frames), avatar)
    staging = workspace.partial_dir(f"fit.{settings.name}")
    avatar.save(staging)
    for file in ("model.safetensors", "avatar.json"):
        with workspace.replace_file(f"avatars/{settings.name}/{file}") as temporary:
            (staging / file).replace(temporary)
    about = {
        "method": spec.name, "split": settings.split, "with_torso": settings.with_torso, "seed": context.seed,
        "holdout": clip.frame_idx[clip.split.holdout], "rows": rows,
    }  # fmt: skip
    workspace.write_json(f"avatars/{settings.name}/metrics.json", about)
    last = rows[-1]
    return {
        "method": spec.name, "name": settings.name, "split": settings.split, "train_frames": len(clip.split.train),
        "holdout_frames": len(clip.split.holdout), "steps": steps, "loss": last.get("loss"),
        "train_psnr": last.get("train_psnr"), "holdout_psnr": last.get("holdout_psnr"),
        "rays_per_s": int(np.median([row["rays_per_s"] for row in rows])), "backend": backend.current(context.device),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _fit_within_memory(
    workspace: Workspace, clip: Clip, spec: MethodSpec, settings: FitSettings, context: RunContext
) -> tuple[Avatar, list[loop.Row], int]:
    """Fit, with half of what takes memory whenever it runs out."""
    method_settings = settings.method_settings
    while True:
        tag = repr(sorted(dataclasses.asdict(method_settings).items()))
        checkpoints = Checkpoints(workspace, settings.name, tag)
        try:
            head = load_head(workspace)
            trainer = trainer_class(spec)(
                clip, method_settings, name=settings.name, head=head, seed=context.seed, device=context.device
            )
            look = HoldoutLook(workspace, clip, settings.name, settings.preview_frames)
            rates = " ".join(f"--set {name}={getattr(method_settings, name) / 2:g}" for name in spec.rates)
            rows = loop.fit(trainer, checkpoints, context.reporter, look, resume=context.resume, rates=rates)
            checkpoints.clear()
            return trainer.avatar(), rows, trainer.total_steps
        except (MemoryError, RuntimeError) as error:
            if not loop.is_out_of_memory(error):
                raise
            halved = spec.smaller(method_settings)
            counted, _, words = spec.halved
            if halved is None:
                raise OutOfMemory(
                    "The fit does not fit into memory.",
                    why=f"also not with {getattr(method_settings, counted)} {words}: {error}",
                    fix="use --preset fast or a smaller --size",
                ) from error  # fmt: skip
            context.reporter.warn(f"out of memory: trying again with {getattr(halved, counted)} {words}")
            method_settings = halved
        gc.collect()


class HoldoutLook:
    """Renders a few holdout frames beside the truth; what it sees never reaches the trainer.

    Args:
        workspace: previews are written into the avatar's folder there.
        clip: its holdout frames are read.
        name: of the avatar.
        count: how many frames.
    """

    def __init__(self, workspace: Workspace, clip: Clip, name: str, count: int) -> None:
        self.workspace, self.clip, self.name = workspace, clip, name
        held = clip.split.holdout
        places = np.linspace(0, max(len(held) - 1, 0), min(count, len(held)) + 2)[1:-1].round().astype(int)
        self.frames = [int(held[i]) for i in places]

    def __call__(self, avatar: Avatar, step: int) -> dict[str, float]:
        """PSNR over these frames, and a preview of them."""
        if not self.frames:
            return {}
        scores, pairs = [], []
        for frame in self.frames:
            truth = on_white(self.clip.images[frame], self.clip.mattes[frame])
            seen = avatar.render(self.clip.params[frame], self.clip.camera).rgb
            seen = without_covered(seen, self.clip.covered, frame)
            scores.append(psnr(seen, truth, self.clip.valid))
            pairs.append(np.concatenate([truth, seen], axis=1))
        picture = (np.concatenate(pairs).clip(0, 1) * 255).round().astype(np.uint8)
        self.workspace.write_image(f"avatars/{self.name}/previews/fit.png", picture)
        return {"holdout_psnr": round(float(np.mean(scores)), 3)}
