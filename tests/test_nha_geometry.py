"""Geometry against the truth: hair and a beard that no identity expresses are found from outlines."""

from __future__ import annotations

from functools import cache
from typing import Any

import displaced_heads
import numpy as np
import pytest
import synthetic
import torch

from headavatar.methods import get
from headavatar.methods.neural_head_avatar.regularizers import flipped
from headavatar.methods.neural_head_avatar.trainer import NeuralHeadAvatarTrainer
from headavatar.scene import Array

Errors = dict[str, tuple[float, float]]


def fitted(made: displaced_heads.Displaced, **overrides: Any) -> Array:
    """(V, 3) the mesh at rest that a fit makes of the pictures, the true parameters standing for a track."""
    settings = get("neural-head-avatar").resolve("fast", {"perceptual_weight": 0.0, **overrides})
    trainer = NeuralHeadAvatarTrainer(
        displaced_heads.film(made), settings, name="truth", head=synthetic.head(), seed=0, device="cpu"
    )
    for index in range(trainer.total_steps):
        trainer.step(index)
    return made.rest(trainer.avatar().mesh())


def measured(made: displaced_heads.Displaced, vertices: Array) -> tuple[Errors, Errors]:
    """Errors of the tracked mesh, which is the bare head, and of the fitted one."""
    faces = displaced_heads.skin_faces(made)
    pair = tuple(displaced_heads.surface_errors(made, mesh, faces) for mesh in (made.rest(made.bare), vertices))
    for name, (mean, _) in pair[0].items():
        print(f"{name:16} {mean:6.2f} -> {pair[1][name][0]:6.2f} mm, p95 {pair[1][name][1]:6.2f}")
    return pair[0], pair[1]


@cache
def person(seed: int) -> displaced_heads.Displaced:
    return displaced_heads.make(2, 64, seed)


def test_the_measure_is_zero_on_the_truth_and_the_displacement_on_the_bare_head(seed: int) -> None:
    made = person(seed)
    faces = displaced_heads.skin_faces(made)
    assert all(mean < 0.01 for mean, _ in displaced_heads.surface_errors(made, made.rest(made.truth), faces).values())
    bare = displaced_heads.surface_errors(made, made.rest(made.bare), faces)
    length_mm = np.linalg.norm(made.offset, axis=1) * 1000
    top = made.hair & ~made.fringe
    assert 12 < bare["hair, front half"][0] < length_mm[top].max() and bare["hair, back half"][0] > 12
    assert 3 < bare["beard"][0] < 12 and bare["face"][0] < 1
    closer = made.rest(made.bare) + 0.5 * made.offset
    half = displaced_heads.surface_errors(made, closer, faces)
    assert half["all"][0] < 0.7 * bare["all"][0]


def test_no_identity_makes_the_hair(seed: int) -> None:
    """The best that the head model can do about the displacement leaves most of it."""
    made = person(seed)
    chosen = torch.from_numpy(made.hair | made.beard | (made.skin() & (np.arange(len(made.hair)) % 4 == 0)))
    basis = made.bare.identity_basis[:, chosen].reshape(made.bare.identity_size, -1).T.double()
    wanted = torch.from_numpy(made.offset)[chosen].reshape(-1, 1)
    ridge = torch.eye(basis.shape[1], dtype=torch.float64) * 1e-6
    found = torch.linalg.solve(basis.T @ basis + ridge, basis.T @ wanted)
    assert found.abs().max() > 3 or (wanted - basis @ found).norm() > 0.3 * wanted.norm()


def test_outlines_find_hair(seed: int) -> None:
    made = displaced_heads.make(8, 80, seed % 40)
    before, after = measured(made, fitted(made, geometry_steps=40, texture_steps=0, joint_steps=0))
    for name in ("hair, front half", "hair, back half"):
        assert after[name][0] < 0.6 * before[name][0], name
    assert after["all"][0] < 0.7 * before["all"][0]


@pytest.mark.slow
def test_hair_fringe_and_beard_are_found_where_pictures_show_them() -> None:
    made = displaced_heads.make(32, 192, 3)
    vertices = fitted(made, texture_steps=0, joint_steps=0)
    before, after = measured(made, vertices)
    for name in ("hair, front half", "hair, back half", "fringe", "beard", "all"):
        assert after[name][0] < 0.5 * before[name][0], name
    assert after["face"][0] < 0.5 and after["ears"][0] < 1.5 and after["neck"][0] < 2
    skin = displaced_heads.skin_faces(made)
    rest = torch.from_numpy(made.rest(made.bare))
    assert flipped(torch.from_numpy(vertices), rest, torch.from_numpy(skin)).float().mean() < 0.01
    # no spikes: nothing of the fitted mesh stands far off the true one
    from headavatar.head.surface import Surface

    away = Surface(made.rest(made.truth), skin).nearest(vertices[made.skin()]).distance
    assert away.max() < 0.02
