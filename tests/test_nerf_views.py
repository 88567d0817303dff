"""Colors from where training never looked: those of the nearest direction that it did look from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_fit import clip_of, rendered, trainer_of

from headavatar import ops
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.methods.nerf_blendshape.avatar import NerfBlendshapeAvatar
from headavatar.methods.nerf_blendshape.field import HARMONICS
from headavatar.methods.nerf_blendshape.rays import RayFrames
from headavatar.methods.nerf_blendshape.views import TrainedViews, turned_harmonics
from headavatar.scene import Array, Clip, HeadParams


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of(rendered())


def opaque_head(clip: Clip, seed: int, **settings: object) -> NerfBlendshapeAvatar:
    """A head before training, made opaque: its color is that of its networks, which differs by direction alone."""
    avatar = trainer_of(clip, seed=seed, **settings).avatar()
    avatar.field = replace(avatar.field, density_shift=5.0)
    return avatar


def color(avatar: NerfBlendshapeAvatar, params: HeadParams, clip: Clip) -> Array:
    seen = avatar.render(params, clip.camera, (0.0, 0.0, 0.0))
    return np.median(seen.rgb[seen.alpha > 0.99], axis=0)


def turned(clip: Clip, yaw: float) -> HeadParams:
    """The head of the clip's first frame, facing the camera but for its yaw, radians."""
    return replace(clip.params[0], rotation=np.array([[0.0, yaw, 0.0]], np.float32))


def test_a_head_turned_far_keeps_the_color_of_the_last_direction_that_was_seen(
    clip: Clip, rng: np.random.Generator
) -> None:
    seed = int(rng.integers(1 << 20))
    held, free = opaque_head(clip, seed), opaque_head(clip, seed, hold_views=False)
    assert held.views is not None and free.views is None
    far = [turned(clip, side * np.radians(degrees)) for side in (-1, 1) for degrees in (45, 60, 75)]
    for params in far:
        origin = RayFrames.of(params, clip.camera, held.cube).origins[0].numpy() - 0.5
        distance = np.linalg.norm(origin)
        back = held.views.nearest(origin / distance) * distance + 0.5
        # The same head with its eye where the nearest trained direction is: only colors count, they are all over it.
        field, _ = held.seen_from(torch.from_numpy(origin + 0.5))
        ray = torch.tensor(-origin / distance).float(), torch.tensor((0.5 - back) / distance).float()
        values = [ops.spherical_harmonics(direction, HARMONICS) for direction in ray]
        bands = HARMONICS**2
        torch.testing.assert_close(
            field.color_weights[0][:, -bands:] @ values[0], free.field.color_weights[0][:, -bands:] @ values[1],
            rtol=1e-4, atol=1e-4,
        )  # fmt: skip
    heads = [(held, free)]  # several, since one head's random colors may hardly follow the direction
    for other in rng.integers(1 << 20, size=3).tolist():
        heads.append((opaque_head(clip, other), opaque_head(clip, other, hold_views=False)))
    spread = np.sum(
        [[np.ptp([color(one, at, clip) for at in far[3:]], axis=0).max() for one in pair] for pair in heads], axis=0
    )
    assert spread[0] < 0.35 * spread[1], spread


def test_pictures_within_training_stay_as_they_were(clip: Clip, rng: np.random.Generator) -> None:
    held = opaque_head(clip, 0)
    free = opaque_head(clip, 0, hold_views=False)
    for frame in rng.choice(clip.split.train, 4, replace=False):
        params = clip.params[int(frame)]
        assert np.array_equal(held.render(params, clip.camera).rgb, free.render(params, clip.camera).rgb)


def test_an_orbit_has_no_jumps(rng: np.random.Generator) -> None:
    eyes = 0.5 + 5 * np.array([0.0, 0.0, 1.0]) + rng.normal(0, 0.5, (30, 3))
    views = TrainedViews.of(eyes)
    lap = np.linspace(0, 2 * np.pi, 200)
    yaw, pitch = rng.uniform(0.3, 1.2) * np.sin(lap), rng.uniform(0.1, 0.6) * np.cos(lap)
    toward = np.stack([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)], 1)
    before = np.array([views.place(one) for one in toward])
    after = np.array([views.place(views.nearest(one)) for one in toward])
    steps = [np.linalg.norm(np.diff(places, axis=0), axis=1) for places in (before, after)]
    assert (steps[1] <= steps[0] + 1e-9).all()
    assert (np.linalg.norm(after - before, axis=1) > 0.01).any()


def test_few_or_equal_frames_are_a_range_too(rng: np.random.Generator) -> None:
    eye = rng.normal(size=3)
    for eyes in (eye[None], np.repeat(eye[None], 5, 0), np.stack([eye, 1.1 * eye - 0.05])):
        views = TrainedViews.of(eyes)
        toward = (eye - 0.5) / np.linalg.norm(eye - 0.5)
        assert views.nearest(toward) is toward
        for other in (-toward, rng.normal(size=3)):
            other = other / np.linalg.norm(other)
            assert views.nearest(other) @ toward > np.cos(0.03)


def test_harmonics_of_turned_directions(rng: np.random.Generator) -> None:
    rotation = axis_angle_to_matrix_np(rng.normal(size=3))
    directions = rng.normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    here, there = (
        ops.spherical_harmonics(torch.from_numpy(d), HARMONICS) for d in (directions, directions @ rotation.T)
    )
    np.testing.assert_allclose(here.numpy() @ turned_harmonics(rotation).T, there.numpy(), atol=1e-9)


def test_the_range_is_kept_in_files_and_files_without_it_still_draw(clip: Clip, tmp_path: Path) -> None:
    held = opaque_head(clip, 3)
    params = turned(clip, 1.0)
    held.save(tmp_path)
    again = NerfBlendshapeAvatar.load(tmp_path)
    assert np.array_equal(again.render(params, clip.camera).rgb, held.render(params, clip.camera).rgb)
    about = json.loads((tmp_path / "avatar.json").read_text())
    del about["views"]
    (tmp_path / "avatar.json").write_text(json.dumps(about))
    older = NerfBlendshapeAvatar.load(tmp_path)
    assert older.views is None
    assert np.isfinite(older.render(params, clip.camera).rgb).all()
