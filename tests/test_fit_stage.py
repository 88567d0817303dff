"""The fit and eval stages on a small workspace: files, resume after a kill, honest figures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import synthetic
import torch
from small_fit import SMALL, rendered

from headavatar.errors import InputError, ModelError, OutOfMemory, UsageError
from headavatar.evaluate import stage as evaluate
from headavatar.evaluate.settings import EvalSettings
from headavatar.fit import loop, stage
from headavatar.fit.settings import STAGE, FitSettings
from headavatar.methods import get, load_avatar
from headavatar.methods.nerf_blendshape.trainer import NerfBlendshapeTrainer
from headavatar.progress import RunContext, SilentReporter
from headavatar.track.settings import STAGE as TRACK
from headavatar.workspace import Workspace
from headavatar.workspace.settings import resolve


@pytest.fixture
def tracked(tmp_path: Path) -> Workspace:
    return synthetic.write_workspace(tmp_path / "made.avatar", clip=rendered(), tracked=True)


def settings_of(name: str = "made", **overrides: Any) -> FitSettings:
    inner = get("nerf-blendshape").resolve("balanced", {**SMALL, "steps": 30, **overrides})
    return FitSettings(name=name, method_settings=inner)


class Rows(SilentReporter):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.lines: list[str] = []

    def row(self, table: str, values: Any) -> None:
        self.rows.append(dict(values))

    def info(self, message: str) -> None:
        self.lines.append(message)

    warn = info


def model_of(workspace: Workspace, name: str = "made") -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(str(workspace.path("avatars", name, "model.safetensors")))


def test_fit_writes_an_avatar_its_curve_and_a_preview(tracked: Workspace) -> None:
    reporter = Rows()
    summary = stage.run(tracked, settings_of(), RunContext(reporter=reporter))
    avatar = load_avatar(tracked.path("avatars/made"))
    assert avatar.name == "made" and summary["name"] == "made"
    rows = json.loads(tracked.path("avatars/made/metrics.json").read_text())["rows"]
    assert [row["step"] for row in rows] == [row["step"] for row in reporter.rows]
    assert rows[-1]["step"] == 30 and rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["holdout_psnr"] == summary["holdout_psnr"] > rows[0]["holdout_psnr"]
    assert tracked.path("avatars/made/previews/fit.png").is_file()
    assert not list(tracked.path("avatars/made/checkpoints").glob("*.safetensors"))


class Killed(BaseException):
    pass


def test_killed_and_run_again_it_ends_with_the_same_avatar(
    tracked: Workspace, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    stage.run(tracked, settings_of("whole"), RunContext(seed=5))
    monkeypatch.setattr(loop, "CHECKPOINT_S", 0.0)
    step = NerfBlendshapeTrainer.step
    at = int(rng.integers(2, 30))

    def mortal(self: NerfBlendshapeTrainer, index: int) -> dict[str, float]:
        if index == at:
            raise Killed
        return step(self, index)

    monkeypatch.setattr(NerfBlendshapeTrainer, "step", mortal)
    with pytest.raises(Killed):
        stage.run(tracked, settings_of("broken"), RunContext(seed=5))
    monkeypatch.setattr(NerfBlendshapeTrainer, "step", step)
    reporter = Rows()
    stage.run(tracked, settings_of("broken"), RunContext(reporter=reporter, seed=5))
    assert reporter.lines[0] == f"resumed at step {at} of 30"
    whole, broken = model_of(tracked, "whole"), model_of(tracked, "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_a_damaged_checkpoint_costs_time_not_the_result(tracked: Workspace) -> None:
    stage.run(tracked, settings_of(steps=6), RunContext())
    before = model_of(tracked)
    checkpoint = tracked.path("avatars/made/checkpoints/latest.safetensors")
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.write_bytes(b"half a file")
    stage.run(tracked, settings_of(steps=6), RunContext())
    assert all(torch.equal(before[name], tensor) for name, tensor in model_of(tracked).items())


def test_out_of_memory_halves_the_rays_and_then_says_so(tracked: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    step = NerfBlendshapeTrainer.step

    def hungry(self: NerfBlendshapeTrainer, index: int) -> dict[str, float]:
        if self.settings.rays > limit:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")
        return step(self, index)

    monkeypatch.setattr(NerfBlendshapeTrainer, "step", hungry)
    limit = 1024
    reporter = Rows()
    stage.run(tracked, settings_of(steps=4), RunContext(reporter=reporter))
    assert "1024 rays" in reporter.lines[0]
    limit = 0
    with pytest.raises(OutOfMemory):
        stage.run(tracked, settings_of(steps=4), RunContext())


def test_too_few_frames_are_refused(tmp_path: Path) -> None:
    short = synthetic.write_workspace(tmp_path / "short.avatar", frames=6, size=48, tracked=True)
    with pytest.raises(InputError, match="frames are left to train on"):
        stage.run(short, settings_of(), RunContext())


def test_settings_of_the_method_join_those_of_fit() -> None:
    resolved = resolve(STAGE, "fast", 0, {"steps": "123", "split": "tail", "method": "nerf-blendshape"})
    assert resolved.settings.split == "tail"
    assert resolved.settings.method_settings.steps == 123
    assert STAGE.models(resolved.settings) == ("lpips_alex",)
    quiet = dataclasses.replace(
        resolved.settings, method_settings=get("nerf-blendshape").resolve("fast", {"perceptual_weight": 0.0})
    )
    assert STAGE.models(quiet) == ()


def test_eval_measures_holdout_beside_the_baselines(tracked: Workspace) -> None:
    stage.run(tracked, settings_of(steps=80), RunContext())
    try:
        summary = evaluate.run(tracked, EvalSettings(avatar="made"), RunContext())
    except ModelError as error:
        pytest.skip(f"the network is not there: {error.what}")
    assert summary["avatar"] == "made" and summary["method"] == "nerf-blendshape"
    written = json.loads(tracked.path("avatars/made/eval.json").read_text())
    rows = written["per_frame"]
    metrics = json.loads(tracked.path("avatars/made/metrics.json").read_text())
    assert summary["frames"] == len(rows) == len(metrics["holdout"])
    for figure in ("psnr", "ssim", "lpips"):
        assert summary[figure] == pytest.approx(np.mean([row["avatar"][figure] for row in rows]), abs=1e-4)
        for baseline in ("nearest_frame", "tracked_mesh"):
            assert np.isfinite(summary["baselines"][baseline][figure])
    assert summary["psnr"] > summary["baselines"]["tracked_mesh"]["psnr"]  # whose texture is one plain color
    assert 0 <= summary["within_2_deg_of_training"] <= 1
    assert {"split", "background", "mask", "crop", "hardware", "backend", "seed", "versions"} <= summary.keys()
    for name in ("best", "median", "worst"):
        assert tracked.path(f"avatars/made/previews/eval_{name}.png").is_file()


def test_a_method_may_have_presets_that_its_stage_has_not() -> None:
    fit, track = STAGE, TRACK
    paper = resolve(fit, "paper", 0, {})
    assert paper.preset == "paper" and paper.settings.method_settings.levels == 16
    with pytest.raises(UsageError, match="papier") as raised:
        resolve(fit, "papier", 0, {})
    assert "paper" in raised.value.fix
    with pytest.raises(UsageError, match="paper"):
        resolve(track, "paper", 0, {})
