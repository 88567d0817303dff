"""A fit that takes seconds: a small synthetic clip and small settings, shared by the tests of methods, fit and eval."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import synthetic

from headavatar.methods import get
from headavatar.methods.nerf_blendshape.trainer import NerfBlendshapeTrainer
from headavatar.scene import Clip, Split

SMALL: dict[str, Any] = {
    "steps": 100, "rays": 2048, "grid": 64, "levels": 8, "log2_table": 12, "finest_resolution": 192, "hidden": 32,
    "samples": 8, "perceptual_weight": 0.0,
}  # fmt: skip


@cache
def rendered(seed: int = 7, frames: int = 40, size: int = 64) -> synthetic.SyntheticClip:
    """A synthetic clip, rendered once per run."""
    return synthetic.make(frames, size, seed)


def clip_of(made: synthetic.SyntheticClip, split: str = "blocks") -> Clip:
    """The clip as a method sees it; its arrays are copies, free to be changed."""
    times = made.times_s
    return Clip(
        list(made.images.copy()), list(made.head_mattes.copy()), list(made.parsing), made.landmarks.copy(), made.camera,
        made.params, times, np.arange(len(made)), np.ones(made.images.shape[1:3], bool), Split.named(split, times),
    )  # fmt: skip


def frontal() -> Clip:
    """A clip whose training frames show nothing of the head's back."""
    whole = clip_of(rendered())
    faces = np.flatnonzero(np.abs(whole.params.rotation[:, 1]) < np.radians(12))
    return replace(whole, split=replace(whole.split, train=np.intersect1d(whole.split.train, faces)))


def trainer_of(clip: Clip, seed: int = 0, **overrides: Any) -> NerfBlendshapeTrainer:
    """A trainer with small settings."""
    settings = get("nerf-blendshape").resolve("balanced", {**SMALL, **overrides})
    return NerfBlendshapeTrainer(clip, settings, name="small", head=synthetic.head(), seed=seed)


def trained(clip: Clip, seed: int = 0, **overrides: Any) -> NerfBlendshapeTrainer:
    """That trainer after its last step."""
    trainer = trainer_of(clip, seed, **overrides)
    for index in range(trainer.total_steps):
        trainer.step(index)
    return trainer
