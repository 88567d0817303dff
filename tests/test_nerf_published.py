"""The published configuration: its schedule, its occupancy grid, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_fit import clip_of, rendered, trainer_of

from headavatar.methods import get
from headavatar.methods.nerf_blendshape.density_grid import DensityGrid
from headavatar.methods.nerf_blendshape.losses import phase_at, phases_of, rate_at
from headavatar.metrics.psnr import psnr
from headavatar.metrics.truth import on_white
from headavatar.ops import HashGridSpec

PUBLISHED = {
    "schedule": "published", "volume": "density", "background": "plate", "focus": False, "pose_tables": False,
    "surface_warp": False, "pose_nodes": 0, "decay": "drops", "density": "published", "spacing_mm": 1.0, "samples": 12,
    "weight_decay": 1e-6, "sigma_layers": 2, "geometry_features": 16, "rays": 1024,
}  # fmt: skip


def test_the_preset_has_the_published_numbers() -> None:
    paper = get("nerf-blendshape").resolve("paper")
    spec = HashGridSpec(paper.levels, paper.features, paper.log2_table, paper.base_resolution, paper.finest_resolution)
    assert spec.parameters == 985_824
    assert (paper.rays, paper.frames_per_step, paper.sigma_layers, paper.geometry_features) == (2048, 2, 4, 64)
    first, second, third = phases_of(paper)
    assert [round(phase.until * paper.steps) for phase in (first, second, third)] == [4000, 20000, 30000]
    assert (first.alpha, second.alpha, third.alpha) == (1, 0, 0)
    assert (third.patch, third.regions, third.patch_color, third.beside) == (32, ("mouth", "face"), 0.1, 1)
    assert third.perceptual == 0.05  # a tenth, and the mean with the pass of scattered pixels
    assert phase_at((first, second, third), 0.9999) is third


def test_rates_drop_twice_to_a_third() -> None:
    assert [rate_at("drops", 0.05, p) for p in (0, 0.19, 0.21, 0.49, 0.51)] == pytest.approx([1, 1, 0.33, 0.33, 0.1089])


def test_published_densities_are_per_unit_of_a_cube_of_0_12_units() -> None:
    trainer = trainer_of(clip_of(rendered()), density="published")
    assert trainer.field.density_scale * trainer.cube.side == pytest.approx(0.12)
    assert trainer.field.density_shift == 0


def test_it_learns_a_head_and_resumes_bit_equal(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headavatar.methods.nerf_blendshape.trainer.REFRESHES", (0.5,))
    clip = clip_of(rendered())
    trainer, other = (trainer_of(clip, seed, steps=80, table_lr=3e-2, network_lr=1e-2, **PUBLISHED) for _ in range(2))
    occupied = int(trainer.occupied.sum())
    at = int(np.random.default_rng(seed).integers(45, 75))
    kept: dict[str, torch.Tensor] = {}
    for index in range(80):
        if index == at:
            kept = {name: tensor.detach().clone() for name, tensor in trainer.state().items()}
        trainer.step(index)
    assert 0 < int(trainer.occupied.sum()) < occupied
    frame = int(clip.split.train[0])
    truth = on_white(clip.images[frame], clip.mattes[frame])
    seen = trainer.avatar().render(clip.params[frame], clip.camera).rgb
    assert psnr(seen, truth) > psnr(np.ones_like(truth), truth) + 2
    other.load_state(kept)
    for index in range(at, 80):
        other.step(index)
    for name, tensor in trainer.state().items():
        assert torch.equal(tensor, other.state()[name]), (name, at)


def test_the_grid_keeps_what_any_expression_makes_dense() -> None:
    clip = clip_of(rendered())
    trainer = trainer_of(clip, steps=20)
    for index in range(20):
        trainer.step(index)
    everywhere = torch.ones(16, 16, 16, dtype=torch.bool)
    neutral = torch.eye(trainer.conditioning.tables)[:1]
    extreme = torch.cat([neutral, neutral + torch.eye(trainer.conditioning.tables)[1:2]])
    grids = []
    for coefficients in (neutral, extreme):
        grid = DensityGrid(everywhere)
        grid.refresh(trainer.field, coefficients, torch.Generator().manual_seed(0))
        grids.append(grid.density)
    assert bool((grids[1] >= grids[0]).all()) and bool((grids[1] > grids[0]).any())
