"""Points of a posed head are fetched from the neutral one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import synthetic
import torch
from small_fit import clip_of, rendered, trainer_of

from headavatar import ops
from headavatar.methods.nerf_blendshape.rays import Cube
from headavatar.methods.nerf_blendshape.warp import Warp
from headavatar.scene import ARKIT_NAMES, HeadParams

CUBE = Cube(np.array([0.0, 0.02, 0.0], np.float32), 0.34)
SETTINGS = SimpleNamespace(surface_warp=True, pose_nodes=8, warp_nodes=32)


def people(rng: np.random.Generator, frames: int = 3) -> HeadParams:
    params = HeadParams.neutral(frames, rng.normal(0, 0.7, synthetic.head().identity_size).astype(np.float32))
    params.expression[:] = rng.uniform(0, 0.5, params.expression.shape) * (rng.random(params.expression.shape) < 0.3)
    params.rotation[:] = rng.normal(0, 0.2, params.rotation.shape)
    return params


def test_what_expressions_move_is_found_where_it_came_from(rng: np.random.Generator) -> None:
    head, params = synthetic.head(), people(rng, 16)  # single faces leave .1 to .5, by how far their lips part
    warp = Warp.of(head, params, CUBE, SETTINGS, "cpu")
    skin = np.asarray(head.regions["face"], bool)
    identity, expression = torch.from_numpy(params.identity), torch.from_numpy(params.expression)
    posed = head.vertices(identity, expression).numpy()[:, skin]
    neutral = head.vertices(identity, torch.zeros(1, len(ARKIT_NAMES))).numpy()[0, skin]
    points = torch.from_numpy(CUBE.to_unit(posed).astype(np.float32)).reshape(-1, 3)
    borders = torch.arange(len(params) + 1) * int(skin.sum())
    grids = warp.at(params, params.expression)
    found = CUBE.to_head(ops.warp_points(points, grids, borders).numpy()).reshape(posed.shape)
    moved, left = (np.linalg.norm(a - neutral, axis=-1) * 1000 for a in (posed, found))
    strong = moved > 3
    assert strong.sum() > 20
    assert left[strong].mean() < 0.35 * moved[strong].mean()


def test_a_pose_at_the_middle_of_training_learns_nothing_and_moves_nothing(rng: np.random.Generator) -> None:
    params = people(rng, 5)
    warp = Warp.of(synthetic.head(), params, CUBE, SETTINGS, "cpu")
    middle = replace(params[0], rotation=((params.rotation.max(0) + params.rotation.min(0)) / 2)[None])
    assert warp.pose(middle) == pytest.approx(0, abs=1e-4)
    assert np.abs(warp.pose(params)).max() <= 1 + 1e-5


def test_displacements_learn_in_the_first_half_only() -> None:
    clip = clip_of(rendered())
    trainer = trainer_of(clip, steps=8)
    for index in range(4):
        trainer.step(index)
    learned = trainer.warp.table.clone()
    assert float(learned.abs().max()) > 0
    for index in range(4, 8):
        trainer.step(index)
    assert torch.equal(trainer.warp.table, learned)


def test_without_displacements_an_avatar_has_none() -> None:
    trainer = trainer_of(clip_of(rendered()), surface_warp=False, pose_nodes=0, steps=2)
    trainer.step(0)
    assert trainer.avatar().warp is None
