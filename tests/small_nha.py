"""Fits of neural-head-avatar that take seconds: small settings, and by choice the head as it is instead of divided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import synthetic
import torch

from headavatar.head import HeadModel
from headavatar.methods import get
from headavatar.methods.neural_head_avatar import avatar, trainer
from headavatar.methods.neural_head_avatar.offsets import SirenOffsets
from headavatar.methods.neural_head_avatar.trainer import NeuralHeadAvatarTrainer
from headavatar.scene import Clip

SMALL: dict[str, Any] = {
    "geometry_steps": 3, "texture_steps": 4, "joint_steps": 4, "frames_per_step": 1, "map_size": 64, "map_features": 6,
    "hidden": 16, "layers": 2, "shader_hidden": 8, "mapping_hidden": 8, "perceptual_weight": 0.0,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "stack": {"texture": "stack"},
    "siren": {"texture": "siren", "offsets": "siren", "pose_offsets": False},
}


@contextmanager
def coarse() -> Iterator[None]:
    """Meanwhile heads are not subdivided, and the network of offsets is narrow."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (trainer, avatar):
            patch.setattr(module, "subdivided", lambda head: head)
        patch.setattr(SirenOffsets, "WIDTH", 24)
        patch.setattr(SirenOffsets, "LAYERS", 2)
        yield


def trainer_of(clip: Clip, seed: int = 0, head: HeadModel | None = None, **overrides: Any) -> NeuralHeadAvatarTrainer:
    """A trainer with small settings; overrides may hold a kind of `KINDS`."""
    settings = get("neural-head-avatar").resolve("fast", {**SMALL, **overrides})
    return NeuralHeadAvatarTrainer(clip, settings, name="small", head=head or synthetic.head(), seed=seed)


def run(fit: NeuralHeadAvatarTrainer, first: int = 0, last: int | None = None) -> NeuralHeadAvatarTrainer:
    """Do steps first to last, all that are left by default; returns the trainer."""
    for index in range(first, fit.total_steps if last is None else last):
        fit.step(index)
    return fit


def copied(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state that further steps do not change."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}
