"""nerf-blendshape on a synthetic head: it learns, it resumes, it keeps its hands off the holdout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_fit import clip_of, rendered, trained, trainer_of

from headavatar.errors import UsageError, WorkspaceError
from headavatar.evaluate.baselines import show_training_frame
from headavatar.methods import Avatar, list_methods, load_avatar
from headavatar.methods import get as get_method
from headavatar.methods.nerf_blendshape.avatar import NerfBlendshapeAvatar
from headavatar.methods.nerf_blendshape.losses import Phase
from headavatar.metrics.psnr import psnr
from headavatar.metrics.truth import on_white
from headavatar.scene import ARKIT_NAMES, Camera, Clip


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of(rendered())


@pytest.fixture(scope="module")
def avatar(clip: Clip) -> NerfBlendshapeAvatar:
    return trained(clip, steps=160).avatar()


def steps(trainer: object, first: int, last: int) -> None:
    for index in range(first, last):
        trainer.step(index)  # type: ignore[attr-defined]


def test_beats_the_nearest_training_frame_on_frames_it_never_saw(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    ours, nearest = [], []
    for frame in clip.split.holdout:
        truth = on_white(clip.images[frame], clip.mattes[frame])
        ours.append(psnr(avatar.render(clip.params[int(frame)], clip.camera).rgb, truth))
        nearest.append(psnr(show_training_frame(clip, int(frame)), truth))
    assert np.mean(ours) > np.mean(nearest) + 1
    assert np.mean(ours) > 22


def test_beside_a_patch_other_frames_keep_a_share_of_their_rays(clip: Clip) -> None:
    trainer = trainer_of(clip, rays=2048, frames_per_step=4)
    plain = trainer.step(0)["rays"]
    trainer.phases = (Phase(1.0, 0.5, 48, ("head",), beside=0.25),)
    assert (plain, trainer.step(1)["rays"]) == (2048, 48 * 48 + 3 * 128)
    trainer.phases = (Phase(1.0, 0.5, 200, ("head",), beside=0.25),)  # wider than the picture, which has 64 by 64
    assert trainer.step(2)["rays"] == 64 * 64 + 3 * 128


def test_alpha_depth_and_normals_say_where_the_head_is(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    frame = int(clip.split.holdout[0])
    seen = avatar.render(clip.params[frame], clip.camera)
    matte = clip.mattes[frame] > 127
    alpha = seen.alpha > 0.5
    assert (alpha & matte).sum() / (alpha | matte).sum() > 0.9
    distance = -clip.params.translation[frame, 2]  # the face lies before the head's origin
    assert abs(np.median(seen.depth[matte & alpha]) - (distance - 0.08)) < 0.08
    assert seen.normal is not None
    assert np.median(seen.normal[matte & alpha][:, 2]) < -0.3  # towards the camera, which looks along +z
    assert not seen.depth[seen.alpha == 0].any()


def test_background_shows_where_alpha_is_zero(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    params = clip.params[0]
    white = avatar.render(params, clip.camera)
    green = avatar.render(params, clip.camera, background=(0.0, 1.0, 0.0))
    expected = white.rgb - (1 - white.alpha[..., None]) * np.array([1.0, 0.0, 1.0])
    np.testing.assert_allclose(green.rgb, expected, atol=1e-5)


def test_a_head_behind_the_camera_is_not_seen(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    behind = replace(clip.params[0], translation=-clip.params[0].translation)
    assert avatar.render(behind, clip.camera).alpha.max() == 0


def test_another_size_shows_the_same_head(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    small = avatar.render(clip.params[0], clip.camera).alpha
    large = avatar.render(clip.params[0], clip.camera.scaled(128, 128)).alpha
    assert large.shape == (128, 128)
    np.testing.assert_allclose(large.reshape(64, 2, 64, 2).mean((1, 3)), small, atol=0.6)
    assert abs(large.mean() - small.mean()) < 0.02


def test_expressions_beyond_training_are_clamped(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    jaw = ARKIT_NAMES.index("jawOpen")
    high = avatar.expression_range[1][jaw]
    at_limit, beyond = clip.params[0].expression.copy(), clip.params[0].expression.copy()
    at_limit[:, jaw], beyond[:, jaw] = high, high + 0.5
    pictures = [
        avatar.render(replace(clip.params[0], expression=expression), clip.camera).rgb
        for expression in (at_limit, beyond, clip.params[0].expression)
    ]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0] - pictures[2]).max() > 0.05


def test_expressions_that_never_moved_have_no_table(avatar: NerfBlendshapeAvatar) -> None:
    names = avatar.conditioning.names
    assert "jawOpen" in names and "eyeBlinkLeft" in names
    assert "cheekPuff" not in names and "tongueOut" not in names
    assert len(names) == len(avatar.field.tables)


def test_saved_and_loaded_it_renders_the_same(clip: Clip, avatar: NerfBlendshapeAvatar, tmp_path: Path) -> None:
    avatar.save(tmp_path)
    loaded = load_avatar(tmp_path)
    assert isinstance(loaded, Avatar)
    assert loaded.name == "small" and loaded.head_model == avatar.head_model
    np.testing.assert_array_equal(loaded.identity, clip.params.identity)
    before, after = (a.render(clip.params[3], clip.camera) for a in (avatar, loaded))
    np.testing.assert_array_equal(before.rgb, after.rgb)
    np.testing.assert_array_equal(before.depth, after.depth)


def test_a_damaged_avatar_is_an_error_that_names_the_folder(avatar: NerfBlendshapeAvatar, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="does not exist"):
        load_avatar(tmp_path)
    avatar.save(tmp_path)
    model = tmp_path / "model.safetensors"
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(WorkspaceError, match=str(tmp_path)):
        load_avatar(tmp_path)


def test_resumed_it_ends_bit_equal(clip: Clip, seed: int) -> None:
    whole, broken = (trainer_of(clip, seed, steps=24) for _ in range(2))
    steps(whole, 0, 24)
    at = int(np.random.default_rng(seed).integers(1, 24))
    steps(broken, 0, at)
    kept = {name: tensor.detach().clone() for name, tensor in broken.state().items()}
    fresh = trainer_of(clip, seed, steps=24)
    fresh.load_state(kept)
    steps(fresh, at, 24)
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, fresh.state()[name]), (name, at)


def test_another_seed_gives_another_fit(clip: Clip, seed: int) -> None:
    one, other = trainer_of(clip, seed, steps=2), trainer_of(clip, seed + 1, steps=2)
    steps(one, 0, 2)
    steps(other, 0, 2)
    assert not torch.equal(one.field.tables, other.field.tables)


def test_holdout_pictures_do_not_reach_the_weights(clip: Clip, rng: np.random.Generator) -> None:
    spoiled = clip_of(rendered())
    for frame in [*spoiled.split.holdout, *spoiled.split.guard]:
        spoiled.images[frame][:] = rng.integers(0, 256, spoiled.images[frame].shape)  # type: ignore[index]
        spoiled.mattes[frame][:] = rng.integers(0, 256, spoiled.mattes[frame].shape)  # type: ignore[index]
        spoiled.landmarks[frame] = rng.normal(0, 30, (478, 3))
    clean, dirty = trainer_of(clip, steps=12), trainer_of(spoiled, steps=12)
    steps(clean, 0, 12)
    steps(dirty, 0, 12)
    for name, tensor in clean.state().items():
        assert torch.equal(tensor, dirty.state()[name]), name


def test_pixels_outside_the_picture_teach_nothing(rng: np.random.Generator) -> None:
    plain, spoiled = clip_of(rendered()), clip_of(rendered())
    valid = np.ones((64, 64), bool)
    valid[:, 40:] = False
    for frame in spoiled.split.train:
        spoiled.images[frame][:, 40:] = rng.integers(0, 256, (64, 24, 3))  # type: ignore[index]
    first, second = (trainer_of(replace(one, valid=valid), steps=6) for one in (plain, spoiled))
    steps(first, 0, 6)
    steps(second, 0, 6)
    assert torch.equal(first.field.tables, second.field.tables)


def test_camera_that_orbits_still_sees_the_head(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    turn = np.eye(4)
    angle = np.radians(12)
    turn[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    center = np.eye(4)
    center[:3, 3] = clip.params.translation[0]
    world_to_camera = clip.camera.world_to_camera @ center @ turn @ np.linalg.inv(center)
    moved = Camera(clip.camera.K, 64, 64, world_to_camera)
    here, there = avatar.render(clip.params[0], clip.camera), avatar.render(clip.params[0], moved)
    assert abs(here.alpha.mean() - there.alpha.mean()) < 0.08
    assert np.abs(here.rgb - there.rgb).mean() > 0.01


def test_registry_lists_without_importing_torch_and_suggests() -> None:
    rows = {row["name"]: row for row in list_methods()}
    assert rows["nerf-blendshape"]["installed"]
    with pytest.raises(UsageError, match="nerf-blendshap"):
        get_method("nerf-blendshap")
    with pytest.raises(TypeError):
        get_method("nerf-blendshape").resolve("balanced", {"stepz": 3})
