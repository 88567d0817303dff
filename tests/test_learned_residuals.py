"""Poses that a fit corrects while it learns: known errors shrink, and resuming ends with the same avatar."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import small_fit
import small_nha
import torch

from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.methods.learned_residuals import LearnedResiduals
from headavatar.methods.residuals import POSE
from headavatar.scene import Array, Clip, HeadParams


@pytest.fixture(scope="module")
def clip() -> Clip:
    return small_fit.clip_of(small_fit.rendered())


def shaken(clip: Clip, rng: np.random.Generator, millimeters: float) -> tuple[Clip, Array]:
    """The clip with every tracked head shifted across the view at random, and by how much, (train, 2) metres."""
    shift = rng.normal(0, millimeters / 1000, (len(clip), 2))
    shift -= shift[clip.split.train].mean(0)
    translation = clip.params.translation.copy()
    translation[:, :2] += shift.astype(np.float32)
    return replace(clip, params=replace(clip.params, translation=translation)), shift[clip.split.train]


def answered(residuals: LearnedResiduals, params: HeadParams, shift: Array) -> float:
    """How much of the known shifts the learned ones take back, as a share: 1 is all."""
    turned = axis_angle_to_matrix_np(params.rotation)
    moved = np.einsum("bij,bj->bi", turned, residuals.table[:, 3:POSE].numpy())[:, :2]
    return float(-(moved * shift).sum() / (shift**2).sum())


def test_a_radiance_field_takes_back_what_tracking_was_shifted_by(clip: Clip, rng: np.random.Generator) -> None:
    wrong, shift = shaken(clip, rng, 4.0)
    fit = small_fit.trainer_of(wrong, steps=100, warp_until=1.0, pose_lr=2.0)
    for index in range(fit.total_steps):
        figures = fit.step(index)
    assert fit.residuals is not None
    assert answered(fit.residuals, wrong.params[wrong.split.train], shift) > 0.15
    assert figures["moved_mm"] > 0
    assert fit.residuals.table[:, :POSE].mean(0).abs().max() < 1e-6


def test_a_mesh_takes_back_what_tracking_was_shifted_by(clip: Clip, rng: np.random.Generator) -> None:
    wrong, shift = shaken(clip, rng, 4.0)
    with small_nha.coarse():
        fit = small_nha.trainer_of(
            wrong, geometry_steps=5, texture_steps=20, joint_steps=60, frames_per_step=2, pose_lr=4.0
        )  # fmt: skip
        small_nha.run(fit)
    assert fit.residuals is not None
    assert answered(fit.residuals, wrong.params[wrong.split.train], shift) > 0.15


@pytest.mark.parametrize("method", ["field", "mesh"])
def test_a_resumed_fit_ends_with_the_same_residuals(method: str, clip: Clip, rng: np.random.Generator) -> None:
    def fresh() -> Any:
        if method == "field":
            return small_fit.trainer_of(clip, steps=12, pose_lr=1.0)
        return small_nha.trainer_of(clip, pose_lr=1.0)

    with small_nha.coarse():
        whole, first, second = fresh(), fresh(), fresh()
        cut = int(rng.integers(1, whole.total_steps))
        for index in range(whole.total_steps):
            whole.step(index)
            if index < cut:
                first.step(index)
        second.load_state(small_nha.copied(first.state()))
        for index in range(cut, whole.total_steps):
            second.step(index)
    wanted, found = whole.state(), second.state()
    assert wanted["residuals.table"].abs().max() > 0
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
