"""The focal length that a clip's pictures agree with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic
import torch

from headavatar.progress import SilentReporter
from headavatar.scene import HeadParams
from headavatar.track import inputs, lens
from headavatar.track.lens import Profile
from headavatar.track.settings import TrackSettings


def test_the_least_cost_is_found_between_the_tries_and_belief_decides_where_it_is_flat(
    rng: np.random.Generator,
) -> None:
    for _ in range(30):
        usual, true, steep = rng.uniform(200, 900), rng.uniform(0.75, 1.8), rng.uniform(50, 300)
        focal = usual / np.linspace(1 / 0.7, 1 / 2.0, 5)
        cost = rng.uniform(0, 500) + steep * (usual / focal - 1 / true) ** 2
        assert Profile(focal, cost, usual).best(0) == pytest.approx(usual * true, rel=0.01)
        pulled = Profile(focal, cost, usual).best(100) / usual
        assert min(true, 1) - 0.01 < pulled < max(true, 1) + 0.01
        level = Profile(focal, np.full(5, rng.uniform(0, 500)), usual)
        assert level.best(100) == pytest.approx(usual, rel=0.01)


def test_a_cost_that_only_falls_ends_at_the_last_try(rng: np.random.Generator) -> None:
    usual = float(rng.uniform(200, 900))
    focal = usual / np.linspace(1 / 0.7, 1 / 2.0, 5)
    slope = rng.uniform(50, 500)
    assert Profile(focal, slope * usual / focal, usual).best(0) == pytest.approx(focal[-1])
    assert Profile(focal, -slope * usual / focal, usual).best(0) == pytest.approx(focal[0])


def test_where_they_disagree_colors_say_more_than_landmarks(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Landmarks are wrong alike in all frames and so are sure of a wrong lens."""
    workspace = synthetic.write_workspace(tmp_path / "one.avatar", 8, 64)
    given = inputs.read(workspace, synthetic.head(), 45.0)
    usual, settings = float(given.prior.K[0, 0]), TrackSettings(focal_lengths=3)
    for by_landmarks, by_colors in (rng.permutation([0.8, 1.25]) for _ in range(4)):
        steep = float(rng.uniform(200, 600))

        def costs(
            _: object, believed: inputs.Inputs, *__: object, landmarks: float = by_landmarks,
            colors: float = by_colors, steep: float = steep,
        ) -> tuple[float, float, float]:  # fmt: skip
            inverse, shown = usual / float(believed.prior.K[0, 0]), 1000.0
            return steep * (inverse - 1 / landmarks) ** 2, steep * (inverse - 1 / colors) ** 2 / shown, shown

        monkeypatch.setattr(lens, "_costs", costs)
        found, _ = lens.searched(
            synthetic.head(), given, settings, SilentReporter(), 0, lambda name, compute: compute()
        )
        taken = float(found.prior.K[0, 0]) / usual
        print(by_landmarks, by_colors, taken)
        assert abs(np.log(taken / by_colors)) < 0.6 * abs(np.log(taken / by_landmarks))


def test_a_lens_that_was_believed_wrongly_is_set_right(tmp_path: Path) -> None:
    """A head that turns near by, whose field of view is believed to be much narrower or much wider than it is."""
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    person = synthetic.motion(16, rng)
    params = HeadParams.neutral(16, person.identity)
    params.expression[:] = 0.5 * person.expression
    params.rotation[:, 1] = np.linspace(-0.7, 0.7, 16)
    params.rotation[:, 0] = rng.uniform(-0.2, 0.2, 16)
    params.translation[:] = (0, 0, -0.5)
    clip = synthetic.make(16, 128, seed, params=params)
    workspace = synthetic.write_workspace(tmp_path / "one.avatar", clip=clip)
    settings = TrackSettings(landmark_habits=False, focal_lengths=3, surfels=600, outline_keyframes=8)
    wrong = float(rng.choice([0.6, 0.72, 1.4]))
    with torch.no_grad():
        given = inputs.read(workspace, synthetic.head(), 45.0)
        true = float(given.prior.K[0, 0])
        given = lens.focused(replace(given, train=np.ones(len(given), bool)), wrong * true)
        found, profile = lens.searched(
            synthetic.head(), given, settings, SilentReporter(), 0, lambda name, compute: compute()
        )
    print(wrong, profile, float(found.prior.K[0, 0]) / true)
    assert abs(np.log(found.prior.K[0, 0] / true)) < 0.5 * abs(np.log(wrong))
