"""Poses and expressions refined against an avatar: known errors are found, gradients are true, `eval` names both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_fit
import small_nha
import synthetic
import torch

from headavatar.errors import ModelError, UsageError
from headavatar.evaluate import stage as evaluate
from headavatar.evaluate.refined import refinable
from headavatar.evaluate.settings import EvalSettings
from headavatar.fit import stage as fitting
from headavatar.fit.settings import FitSettings
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.methods import get
from headavatar.methods.base import Refinable
from headavatar.methods.refinement import refine
from headavatar.methods.residuals import Residual
from headavatar.progress import RunContext
from headavatar.scene import ARKIT_NAMES, Array, Clip, HeadParams

METHODS = ("nerf-blendshape", "neural-head-avatar")
DRAWS = 6


@pytest.fixture(scope="module")
def clip() -> Clip:
    return small_fit.clip_of(small_fit.rendered())


@pytest.fixture(scope="module")
def avatars(clip: Clip) -> dict[str, Any]:
    """A small avatar of each method, fitted for seconds."""
    field = small_fit.trainer_of(clip, steps=100)
    for index in range(field.total_steps):
        field.step(index)
    with small_nha.coarse():
        mesh = small_nha.run(small_nha.trainer_of(clip, geometry_steps=5, texture_steps=40, joint_steps=5))
        return {"nerf-blendshape": field.avatar(), "neural-head-avatar": mesh.avatar()}


def residual_of(rng: np.random.Generator, degrees: float, millimeters: float, expressions: int = 0) -> Residual:
    """A turn and a shift of these sizes in random directions, and expressions of 0."""
    turn, shift = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    pose = np.concatenate([np.radians(degrees) * turn, millimeters / 1000 * shift])
    zero = torch.zeros(1, expressions) if expressions else None
    return Residual(torch.from_numpy(pose.astype(np.float32))[None], zero)


def left_mm(a: HeadParams, b: HeadParams) -> float:
    """Root mean square distance across the camera's axis, millimetres, of a face's corners under two poses."""
    corners = np.array([[x, y, 0.08] for x in (-0.06, 0.06) for y in (-0.06, 0.06)])
    placed = [corners @ axis_angle_to_matrix_np(p.rotation[0]).T + p.translation[0] for p in (a, b)]
    return float(1000 * np.sqrt(((placed[0] - placed[1])[:, :2] ** 2).sum(1).mean()))


@pytest.mark.parametrize("method", METHODS)
def test_a_known_error_of_the_pose_is_found(
    method: str, avatars: dict[str, Any], clip: Clip, rng: np.random.Generator
) -> None:
    avatar, frame = avatars[method], int(rng.integers(len(clip)))
    right = clip.params[frame]
    seen = avatar.render(right, clip.camera)
    wrong = residual_of(rng, 1.5, 4.0).applied(right)
    near = np.ones(clip.valid.shape, bool)
    found = refine(avatar, wrong, clip.camera, seen.rgb, near, expression=False, seed=int(rng.integers(1000)))
    after = found.applied(wrong)
    assert left_mm(after, right) < 0.35 * left_mm(wrong, right)
    assert np.array_equal(after.expression, right.expression)


@pytest.mark.parametrize("method", METHODS)
def test_an_open_jaw_that_tracking_missed_is_found(
    method: str, avatars: dict[str, Any], clip: Clip, rng: np.random.Generator
) -> None:
    avatar, jaw = avatars[method], ARKIT_NAMES.index("jawOpen")
    frame = int(np.argmax(clip.params.expression[:, jaw]))
    right = clip.params[frame]
    seen = avatar.render(right, clip.camera).rgb
    expression = right.expression.copy()
    expression[:, jaw] = avatar.expression_range[0][jaw]
    wrong = replace(right, expression=expression)
    found = refine(avatar, wrong, clip.camera, seen, np.ones(clip.valid.shape, bool), expression=True, seed=0)
    after = found.applied(wrong, avatar.answers_to)

    def error(params: HeadParams) -> float:
        return float(((avatar.render(params, clip.camera).rgb - seen) ** 2).mean())

    assert error(after) < 0.5 * error(wrong)
    assert after.expression[0, jaw] > expression[0, jaw]
    low, high = avatar.expression_range
    assert (after.expression[0] >= np.minimum(low, expression[0]) - 1e-5).all()
    assert (after.expression[0] <= np.maximum(high, expression[0]) + 1e-5).all()


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_those_of_differences(
    method: str, avatars: dict[str, Any], clip: Clip, rng: np.random.Generator
) -> None:
    """Over several errors at once: in one of them a loss may bend within a step, as where a jaw was half right."""
    avatar = avatars[method]
    low, high = (clip.params.expression[clip.split.train].min(0), clip.params.expression[clip.split.train].max(0))
    moving = np.flatnonzero(high - low > 0.2)
    pairs: dict[str, list[tuple[Array, Array]]] = {"pose": [], "expression": []}
    for _ in range(DRAWS):
        params = clip.params[int(rng.integers(len(clip)))]
        params = replace(params, expression=((low + high) / 2)[None])  # from where both directions are open
        off = residual_of(rng, 1.0, 3.0).applied(params)
        off.expression[0, moving] += (rng.choice([-1, 1], len(moving)) * 0.4 * (high - low)[moving]).astype(np.float32)
        truth = torch.from_numpy(avatar.render(off, clip.camera).rgb).reshape(-1, 3)
        loss = partial(off_by, avatar, params, clip, truth)
        start = Residual.zero(1, params.expression.shape[1])
        loss(start).backward()
        assert start.expression is not None
        pairs["pose"].append(differences(loss, start, start.pose, np.array([4e-3] * 3 + [4e-4] * 3), range(6)))
        if method == "nerf-blendshape":  # a mesh's pixels jump from face to face where lips part: see the jaw's test
            steps = 0.06 * (high - low)
            pairs["expression"].append(differences(loss, start, start.expression, steps, moving.tolist()))
    for name, least in (("pose", 0.85), ("expression", 0.8)):
        if found := pairs[name]:
            told, seen = (np.concatenate(side) for side in zip(*found, strict=True))
            assert told @ seen > least * np.linalg.norm(told) * np.linalg.norm(seen), name
            assert 0.6 < np.linalg.norm(told) / np.linalg.norm(seen) < 1.6, name


def off_by(avatar: Any, params: HeadParams, clip: Clip, truth: torch.Tensor, residual: Residual) -> torch.Tensor:
    """Mean squared difference of an avatar's picture from the (H W, 3) truth, the pose changed by a residual."""
    pixels = torch.arange(clip.valid.size)
    return (avatar.colors_at(params, clip.camera, pixels, residual) - truth).square().mean()


@torch.no_grad()
def differences(
    loss: Callable[[Residual], torch.Tensor], start: Residual, tensor: torch.Tensor, step: Array, axes: Any
) -> tuple[Array, Array]:
    """What gradients say that a step along each axis changes, and what it does."""
    told, seen = [], []
    assert tensor.grad is not None
    for axis in axes:
        sides = []
        for sign in (-1, 1):
            tensor[0, axis] = sign * float(step[axis])
            sides.append(float(loss(start)))
        tensor[0, axis] = 0
        told.append(float(tensor.grad[0, axis]) * step[axis])
        seen.append((sides[1] - sides[0]) / 2)
    return np.array(told), np.array(seen)


def test_eval_shows_refined_figures_beside_unchanged_ones(tmp_path: Path) -> None:
    made = synthetic.write_workspace(tmp_path / "made.avatar", clip=small_fit.rendered(), tracked=True)
    inner = get("nerf-blendshape").resolve("balanced", {**small_fit.SMALL, "steps": 60})
    fitting.run(made, FitSettings(name="made", method_settings=inner), RunContext())
    before = made.path("avatars/made/model.safetensors").read_bytes()
    try:
        plain = evaluate.run(made, EvalSettings(avatar="made"), RunContext())
    except ModelError as error:
        pytest.skip(f"the network is not there: {error.what}")
    both = evaluate.run(made, EvalSettings(avatar="made", refine="pose", refine_every=2), RunContext())
    again = evaluate.run(made, EvalSettings(avatar="made", refine="pose", refine_every=2), RunContext())
    refined = both.pop("refined")
    assert both == plain
    assert refined == again["refined"]
    assert made.path("avatars/made/model.safetensors").read_bytes() == before
    assert refined["frames"] == (plain["frames"] + 1) // 2
    assert refined["poses"].startswith("refined against the avatar") and plain["poses"].startswith("tracked, not")
    rows = json.loads(made.path("avatars/made/eval.json").read_text())["per_frame"]
    for key, place in (("psnr", "refined"), ("psnr", "avatar")):
        shown = refined[key] if place == "refined" else refined["tracked"][key]
        assert shown == pytest.approx(np.mean([row[place][key] for row in rows if "refined" in row]), abs=1e-4)
    assert refined["psnr"] > refined["tracked"]["psnr"]
    assert refined["moved_deg"] > 0 and refined["moved_mm"] > 0


def test_an_avatar_without_gradients_is_refused() -> None:
    class Stiff:
        method, expression_range = "stiff", (np.zeros(52), np.ones(52))

        def render(self, *_: Any) -> None: ...

    assert not isinstance(Stiff(), Refinable)
    with pytest.raises(UsageError, match="stiff"):
        refinable(Stiff(), EvalSettings(refine="pose"))  # type: ignore[arg-type]
    assert refinable(Stiff(), EvalSettings()) is None  # type: ignore[arg-type]


def test_nothing_to_compare_changes_nothing(avatars: dict[str, Any], clip: Clip) -> None:
    avatar, none = avatars["nerf-blendshape"], np.zeros(clip.valid.shape, bool)
    found = refine(avatar, clip.params[0], clip.camera, np.ones((64, 64, 3)), none, expression=True, seed=0)
    assert all(not part.any() for part in found.parameters())
