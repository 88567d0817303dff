"""neural-head-avatar on a synthetic head: it learns, it resumes, it is kept, it leaves the holdout alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import displaced_heads
import numpy as np
import pytest
import safetensors.torch
import synthetic
import torch
from small_fit import clip_of, rendered
from small_nha import KINDS, coarse, copied, run, trainer_of

from headavatar.errors import WorkspaceError
from headavatar.evaluate.baselines import TexturedMesh
from headavatar.head.rotations import axis_angle_to_matrix
from headavatar.methods import Avatar, get, load_avatar
from headavatar.methods.base import HasMesh
from headavatar.metrics.psnr import psnr
from headavatar.metrics.truth import on_white
from headavatar.scene import Array, Clip
from headavatar.track.landmark_fit import Motion
from headavatar.track.pictures import Pictures
from headavatar.track.texture import gather

SPEC = get("neural-head-avatar")


@pytest.fixture(scope="module", autouse=True)
def _coarse() -> Iterator[None]:
    with coarse():
        yield


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of(rendered())


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def holdout_psnr(clip: Clip, picture: Any) -> float:
    """Mean over holdout frames of what `picture` shows of a frame."""
    frames = clip.split.holdout[:: max(1, len(clip.split.holdout) // 4)]
    return float(
        np.mean([psnr(picture(int(f)), on_white(clip.images[int(f)], clip.mattes[int(f)])) for f in frames])
    )  # fmt: skip


def tracked_texture(clip: Clip) -> Array:
    """(S, S, 3) what `track` gathers from the training frames, the true parameters given."""
    params, train = clip.params, clip.split.train
    motion = Motion(
        axis_angle_to_matrix(torch.from_numpy(params.rotation)), torch.from_numpy(params.translation),
        torch.from_numpy(params.expression),
    )  # fmt: skip
    trust = np.stack([cv2.erode(matte, np.ones((3, 3), np.uint8)) for matte in clip.mattes])
    center = torch.from_numpy(clip.camera.K[:2, 2].astype(np.float32))
    pictures = Pictures(
        np.stack(clip.images), trust, float(clip.camera.K[0, 0]), center, torch.from_numpy(clip.times_s)
    )  # fmt: skip
    made = gather(
        synthetic.head(), torch.from_numpy(params.identity), motion, torch.from_numpy(params.neck), pictures, train, 128
    )  # fmt: skip
    return np.asarray((made.rgb * 255).round(), np.uint8)


def stack_with_hair() -> tuple[Clip, dict[str, Any]]:
    """Hair that no identity has, which the mesh must find, and a stack."""
    steps = {"geometry_steps": 30, "texture_steps": 40, "joint_steps": 15, "map_lr": 0.02}
    return displaced_heads.film(displaced_heads.make(18, 48, 1)), {**KINDS["stack"], **steps}


def siren_without() -> tuple[Clip, dict[str, Any]]:
    """The bare head, whose light and outlines the network must learn."""
    steps = {"geometry_steps": 6, "texture_steps": 110, "joint_steps": 20, "map_lr": 0.08, "network_lr": 6e-3}
    sizes = {"offset_lr": 3e-4, "map_features": 8, "hidden": 32}
    return clip_of(synthetic.make(24, 48, 2)), {**KINDS["siren"], **steps, **sizes}


@pytest.mark.parametrize("made", [stack_with_hair, siren_without])
def test_it_beats_its_start_and_the_tracked_mesh(made: Callable[[], tuple[Clip, dict[str, Any]]], seed: int) -> None:
    clip, settings = made()
    fit = trainer_of(clip, seed, **settings)

    def shown(frame: int) -> Array:
        return fit.avatar().render(clip.params[frame], clip.camera).rgb

    start = holdout_psnr(clip, shown)
    run(fit)
    mesh = TexturedMesh(synthetic.head(), clip, tracked_texture(clip))
    end, tracked = holdout_psnr(clip, shown), holdout_psnr(clip, mesh.render)
    print(f"{start:.2f} -> {end:.2f} dB, tracked mesh {tracked:.2f} dB")
    assert end > start + 3 and end > tracked + 0.5


def test_resumed_it_ends_bit_equal_wherever_it_stopped(clip: Clip, kind: str, seed: int) -> None:
    settings: dict[str, Any] = {**KINDS[kind], "normal_weight": 0.01}
    whole, states = trainer_of(clip, seed, **settings), []
    for index in range(whole.total_steps):
        states.append(copied(whole.state()))
        whole.step(index)
    edges = np.cumsum([stage.steps for stage in whole.stages])[:-1].tolist()
    assert len(edges) == 3
    other = trainer_of(clip, seed, **settings)
    inside = int(np.random.default_rng(seed).integers(1, whole.total_steps))
    for at in [inside, *edges]:  # taking up a state must leave nothing of what the trainer did before
        other.load_state(states[at])
        end = min([edge for edge in [*edges, whole.total_steps] if edge > at][0] + 1, whole.total_steps)
        run(other, at, end)
        wanted = states[end] if end < whole.total_steps else whole.state()
        for name, tensor in wanted.items():
            assert torch.equal(tensor, other.state()[name]), (name, at, end)


def test_another_seed_gives_another_fit(clip: Clip, kind: str, seed: int) -> None:
    few = {"geometry_steps": 1, "texture_steps": 2, "joint_steps": 0}
    one, other = (run(trainer_of(clip, s, **KINDS[kind], **few)).state() for s in (seed, seed + 1))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_saved_and_loaded_it_draws_the_same(clip: Clip, kind: str, rng: np.random.Generator, tmp_path: Path) -> None:
    head = synthetic.head()
    place = torch.from_numpy(rng.uniform(-0.01, 0.01, 3).astype(np.float32))
    head = head.with_offset(0.1 * head.template * torch.from_numpy(rng.uniform(-1, 1, 3).astype(np.float32)) + place)
    avatar = run(trainer_of(clip, head=head, **KINDS[kind])).avatar()
    avatar.save(tmp_path)
    loaded = load_avatar(tmp_path)
    assert isinstance(loaded, Avatar) and isinstance(loaded, HasMesh)
    assert (loaded.name, loaded.method, loaded.head_model) == ("small", "neural-head-avatar", head.name)
    np.testing.assert_array_equal(loaded.identity, clip.params.identity)
    np.testing.assert_allclose(loaded.expression_range, avatar.expression_range, atol=1e-6)
    frame = int(rng.integers(len(clip)))
    before, after = (one.render(clip.params[frame], clip.camera) for one in (avatar, loaded))
    assert before.alpha.max() > 0.99 and before.alpha.min() == 0
    np.testing.assert_allclose(before.depth, after.depth, atol=1e-4)
    np.testing.assert_allclose(before.rgb, after.rgb, atol=2 / 255)
    np.testing.assert_allclose(before.alpha, after.alpha, atol=2 / 255)
    np.testing.assert_allclose(avatar.mesh().template.numpy(), loaded.mesh().template.numpy(), atol=1e-6)
    again = tmp_path / "again"
    again.mkdir()
    loaded.save(again)  # what was stored is stored the same
    first, second = (safetensors.torch.load_file(str(folder / "model.safetensors")) for folder in (tmp_path, again))
    assert first.keys() == second.keys() and all(torch.allclose(first[k], second[k], atol=1e-6) for k in first)


@pytest.fixture(scope="module")
def stored(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    trainer_of(clip).avatar().save(folder)
    load_avatar(folder)
    return folder


@pytest.mark.parametrize(
    "damage",
    ["cut model", "cut description", "no model", "no such tensor", "another size", "no such field", "strange setting",
     "newer", "a list"],
)  # fmt: skip
def test_damaged_and_newer_files_are_errors_of_the_workspace(stored: Path, damage: str, tmp_path: Path) -> None:
    model, about = (stored / "model.safetensors").read_bytes(), json.loads((stored / "avatar.json").read_text())
    if damage == "cut model":
        model = model[: len(model) // 2]
    if damage in ("no such tensor", "another size"):
        tensors = safetensors.torch.load(model)
        name = next(name for name in tensors if name.startswith("texture"))
        if damage == "no such tensor":
            del tensors[name]
        else:
            tensors[name] = tensors[name].flatten()[:-3].clone()
        model = safetensors.torch.save(tensors)
    if damage == "no such field":
        del about["told"]
    if damage == "strange setting":
        about["settings"]["hair_dye"] = 3
    if damage == "newer":
        about["format"] += 1
    text = json.dumps([about] if damage == "a list" else about)
    (tmp_path / "avatar.json").write_text(text[: len(text) // 2] if damage == "cut description" else text)
    if damage != "no model":
        (tmp_path / "model.safetensors").write_bytes(model)
    with pytest.raises(WorkspaceError, match="newer" if damage == "newer" else None):
        load_avatar(tmp_path)


class Guarded(Sequence[Array]):
    """Pictures of which some must not be looked at."""

    def __init__(self, pictures: Sequence[Array], allowed: Array) -> None:
        self.pictures, self.allowed, self.read = pictures, set(map(int, allowed)), set()

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: Any) -> Any:
        assert int(index) in self.allowed, f"picture {index} is not for training"
        self.read.add(int(index))
        return self.pictures[int(index)]


def test_only_training_frames_are_looked_at(clip: Clip, kind: str) -> None:
    train = clip.split.train
    images, mattes = Guarded(clip.images, train), Guarded(clip.mattes, train)
    guarded = replace(clip, images=images, mattes=mattes)
    fit = run(trainer_of(guarded, **KINDS[kind], frames_per_step=3))
    assert images.read == mattes.read == set(map(int, train))
    assert np.isfinite(fit.avatar().render(clip.params[int(clip.split.holdout[0])], clip.camera).rgb).all()


def test_memory_that_runs_out_halves_frames_until_one_is_left() -> None:
    settings, counts = SPEC.resolve("fast", {"frames_per_step": 11}), []
    while settings is not None:
        counts.append(settings.frames_per_step)
        smaller = SPEC.smaller(settings)
        assert smaller is None or replace(smaller, frames_per_step=counts[-1]) == settings
        settings = smaller
    assert counts == [11, 5, 2, 1]
