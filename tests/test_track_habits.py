"""Landmarks that a network sees in the wrong place in the same way on every head are read as it means them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic
import torch
from landmark_habits import CONSTANT, VIEW, Seen, left, shifts
from torch import Tensor

from headavatar.head.rotations import axis_angle_to_matrix, axis_angle_to_matrix_np, matrix_to_axis_angle
from headavatar.scene import HeadParams
from headavatar.track.habits import Habits
from headavatar.track.landmark_fit import LandmarkFit, Motion, Observation, Person, project
from headavatar.track.landmark_model import LANDMARKS, LandmarkModel
from headavatar.track.measure import landmark_error
from headavatar.track.settings import LandmarkWeights
from headavatar.track.start import initial_motion

FRAMES = 24
FOCAL = 400.0


def smooth_field(rng: np.random.Generator, scale_m: float) -> Tensor:
    """(L, 3) shifts that neighboring landmarks share."""
    head = synthetic.head()
    place = head.landmark_points(head.template[None])[0].numpy() / 0.05
    waves = np.cos(place @ rng.normal(0, 1, (3, 8)) + rng.uniform(0, 2 * np.pi, 8))
    return torch.from_numpy(waves @ rng.normal(0, scale_m / 2, (8, 3))).float()


def some_habits(rng: np.random.Generator) -> Habits:
    names = synthetic.head().expression_names
    moving = [name for name in names if not name.startswith("eye")]
    return Habits(
        smooth_field(rng, 1e-3), torch.stack([smooth_field(rng, 8e-3) for _ in range(2)]),
        torch.stack([smooth_field(rng, 1e-3) for _ in moving]), tuple(moving), torch.full((LANDMARKS,), 1.5e-3),
        torch.from_numpy(rng.uniform(1e-3, 3e-3, LANDMARKS)).float(),
    )  # fmt: skip


def turning(rng: np.random.Generator) -> tuple[HeadParams, Motion]:
    head = synthetic.head()
    params = HeadParams.neutral(FRAMES, np.zeros(head.identity_size, np.float32))
    params.rotation[:, 1] = np.linspace(-0.7, 0.7, FRAMES)
    phase = np.linspace(0, rng.uniform(2, 5), FRAMES)  # slow, as a motion is believed to be
    params.rotation[:, 0] = 0.25 * np.sin(phase)
    params.translation[:] = (0.02, -0.01, -0.6)
    pulled = rng.uniform(0, 0.5, params.expression.shape[1]) * (rng.uniform(size=params.expression.shape[1]) < 0.3)
    params.expression[:] = np.cos(phase)[:, None] ** 2 * pulled
    turns = axis_angle_to_matrix(torch.from_numpy(params.rotation))
    return params, Motion(turns, torch.from_numpy(params.translation), torch.from_numpy(params.expression))


def seen_with(habits: Habits, params: HeadParams, truth: Motion) -> Observation:
    """What a network with these habits says of a head."""
    head = synthetic.head()
    points = head.landmark_model().points(torch.from_numpy(params.identity), truth.expression)
    points = points + habits.seen_from(truth.rotation, truth.translation)
    points = points + torch.tensordot(truth.expression, habits.expression_basis(head.expression_names), 1)
    world = points @ truth.rotation.transpose(1, 2) + truth.translation[:, None]
    center = torch.tensor([128.0, 128.0])
    pixels = project(world, FOCAL, center)
    depth = -(world[..., 2] - world[..., 2].mean(1, keepdim=True)) * FOCAL / 0.6
    return Observation(pixels, depth, truth.expression, torch.arange(FRAMES) / 25.0, center)


def turned_deg(found: Motion, truth: Motion) -> float:
    apart = matrix_to_axis_angle(found.rotation @ truth.rotation.transpose(1, 2))
    return float(torch.rad2deg(apart.norm(dim=1)).mean())


def fitted(seen: Observation, habits: Habits | None) -> tuple[Person, Motion]:
    fit = LandmarkFit(LandmarkModel.of(synthetic.head(), habits), seen, LandmarkWeights(focal=1e10), FOCAL)
    frames = torch.arange(FRAMES)
    person = fit.fit_person(frames, initial_motion(fit.model, fit.stranger(), seen), 6)
    return person, fit.fit_motion(person, initial_motion(fit.model, person, seen), 4)


def test_poses_and_expressions_are_found_through_known_habits(rng: np.random.Generator) -> None:
    plain, known = [], []
    for _ in range(4):
        habits = some_habits(rng)
        params, truth = turning(rng)
        seen = seen_with(habits, params, truth)
        for allowed, errors in ((None, plain), (habits, known)):
            errors.append(turned_deg(fitted(seen, allowed)[1], truth))
    print(plain, known)
    assert np.mean(known) < 0.3 * np.mean(plain)
    assert np.mean(known) < 0.5


def test_the_error_is_of_what_the_network_means(rng: np.random.Generator) -> None:
    habits = some_habits(rng)
    params, truth = turning(rng)
    seen = seen_with(habits, params, truth)
    head, center = synthetic.head(), seen.center
    person = Person(torch.from_numpy(params.identity), torch.zeros(LANDMARKS, 3), FOCAL)
    landmarks = torch.cat([seen.landmarks, seen.depth[..., None]], 2).numpy()
    error, pixels = landmark_error(head, person, truth, center, landmarks, habits)
    assert error.max() < 1e-4 and np.abs(pixels - seen.landmarks.numpy()).max() < 0.01
    assert landmark_error(head, person, truth, center, landmarks, None)[0].mean() > 0.003


def test_measuring_finds_the_shifts_that_were_put_in(rng: np.random.Generator) -> None:
    true = rng.normal(0, 2e-3, (5, 7, 3))
    films = []
    for _ in range(6):
        turns = axis_angle_to_matrix_np(rng.normal(0, 0.4, (40, 3)))
        features = np.concatenate([np.ones((40, 1)), turns[:, 2, :2], rng.uniform(0, 1, (40, 2))], 1)
        by_head = np.stack([turns[:, 0], -turns[:, 1]], 1)
        error = np.einsum("tij,tlj->tli", by_head, np.einsum("tf,flc->tlc", features, true))
        films.append(Seen(error + rng.normal(0, 3e-4, error.shape), by_head, features))
    train, test = films[:-1], films[-1]
    rest = [np.square(left(test, shifts(train, features)).error).mean() for features in (CONSTANT, VIEW, None)]
    whole = np.square(test.error).mean()
    assert rest[2] < 0.1 * whole  # only what a ridge keeps small, and noise
    assert rest[2] < rest[1] < rest[0] < whole


def test_habits_come_back_from_a_file(tmp_path: Path, rng: np.random.Generator) -> None:
    habits = some_habits(rng)
    habits.save(tmp_path / "habits.npz")
    back = Habits.load(tmp_path / "habits.npz")
    assert back.names == habits.names
    for name in ("place", "by_view", "by_expression", "spread", "own"):
        half = 2**-11 * 1.01  # what half precision keeps
        assert torch.allclose(getattr(back, name), getattr(habits, name), rtol=half, atol=1e-7)


def test_the_measured_ones_are_this_heads() -> None:
    habits, head = Habits.load(), synthetic.head()
    basis = habits.expression_basis(head.expression_names)
    assert basis.shape == (len(head.expression_names), LANDMARKS, 3)
    for row, name in enumerate(head.expression_names):
        # eyes are told by other means, and no film shows a tongue
        told = not name.startswith("eye") and name != "tongueOut"
        assert bool(basis[row].any()) == told, name
    assert habits.spread.min() > 0 and habits.spread.max() < 0.01
    assert habits.place.norm(dim=1).max() < 0.02
    assert not habits.expression_basis(("somethingElse",)).any()


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_steady_landmarks_are_trusted_and_alike_ones_held(scale: float, rng: np.random.Generator) -> None:
    habits = some_habits(rng)
    spread, own = (torch.full((LANDMARKS,), 2e-3) for _ in range(2))
    spread[7], own[8] = spread[7] * scale, own[8] * scale
    model = LandmarkModel.of(synthetic.head(), replace(habits, spread=spread, own=own))
    assert float(model.weights[7] / model.weights[8]) == pytest.approx(scale**-2)
    assert float(model.sameness[8] / model.sameness[7]) == pytest.approx(scale**-2)
