"""The door for a network of face normals: its file is taken in, checked, and used; random weights stand for real."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
import torch
from torch import Tensor, nn

from headavatar.errors import ModelError
from headavatar.preprocess import normal_network
from headavatar.preprocess.settings import STAGE, PreprocessSettings
from headavatar.pretrained import cache, face_normals
from headavatar.pretrained.catalog import FACE_NORMALS
from headavatar.workspace import layout, load_clip
from headavatar.workspace.settings import deciding


def weights(rng: np.random.Generator) -> dict[str, Tensor]:
    """A state dictionary as its authors' file holds one: what is used, and what is left over."""
    made = {}
    for name, shape in face_normals.shapes().items():
        spread = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.2
        made[name] = torch.from_numpy(rng.normal(0, spread, shape).astype(np.float32))
        if name.endswith("running_var") or name.endswith("weight") and len(shape) == 1:
            made[name] = made[name].abs() + 0.5
    left_over = (
        "base_model.fc.weight", "layer4_2.1.conv1.weight", "conv_up2_2.0.bias", "conv_original_size0_2.0.weight",
        "conv_last_2.bias", "layer0.1.num_batches_tracked",
    )  # fmt: skip
    return made | {name: torch.zeros(3) for name in left_over}


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> dict[str, Tensor]:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path / "cache"))
    content = weights(rng)
    torch.save(content, tmp_path / "model.pth")
    assert face_normals.add(tmp_path / "model.pth") == cache.location(FACE_NORMALS)
    return content


def test_what_is_added_is_what_is_loaded(added: dict[str, Tensor]) -> None:
    assert str(cache.location(FACE_NORMALS)) in STAGE.inputs(PreprocessSettings(normals="network"))
    assert str(cache.location(FACE_NORMALS)) not in STAGE.inputs(PreprocessSettings())
    loaded = face_normals.load()
    assert set(loaded) == set(face_normals.shapes())
    assert all(torch.equal(loaded[name], added[name]) for name in loaded)


class Block(nn.Module):
    """A residual block as its paper draws it."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if before != width:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


def test_the_backbone_is_a_residual_network_of_eighteen_layers(added: dict[str, Tensor]) -> None:
    """The encoder, put together from torch's own modules, takes the same tensors under the same names."""
    stages = nn.ModuleDict({
        "layer0": nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        "layer1": nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))),
        "layer2": nn.Sequential(Block(64, 128, 2), Block(128, 128, 1)),
        "layer3": nn.Sequential(Block(128, 256, 2), Block(256, 256, 1)),
        "layer4": nn.Sequential(Block(256, 512, 2), Block(512, 512, 1)),
    })  # fmt: skip
    own = {name: tensor for name, tensor in face_normals.load().items() if "_" not in name.split(".")[0]}
    missing, unexpected = stages.load_state_dict(own, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)


def test_normals_depend_on_the_picture_and_have_length_one(added: dict[str, Tensor], rng: np.random.Generator) -> None:
    pictures = torch.from_numpy(rng.random((2, 3, 64, 96), dtype=np.float32))
    with torch.inference_mode():
        first, second = (normal_network.network(p[None], face_normals.load()) for p in pictures)
    assert first.shape == (1, 3, 64, 96) and torch.isfinite(first).all()
    assert (first - second).abs().mean() > 1e-3


def test_it_writes_normals_on_the_person_around_the_face(added: dict[str, Tensor], rng: np.random.Generator) -> None:
    clip = synthetic.make(1, 128, int(rng.integers(2**31)))
    matte = clip.head_mattes[0].astype(np.float32) / 255
    picture = normal_network.NormalNetwork().run(clip.images[0], clip.exact[0], matte)
    there = (picture > 0).any(-1)
    assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8
    assert not there[matte < 0.4].any()
    marks = clip.exact[0, normal_network.MEDIAPIPE_TO_68, :2].astype(int)
    assert there[marks[:, 1], marks[:, 0]].mean() > 0.9
    length = np.linalg.norm(picture[there].astype(np.float64) / 127.5 - 1, axis=1)
    assert np.abs(length - 1).max() < 0.02


class Runs:
    """What a file must not get done."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("it_ran"),))


@pytest.mark.parametrize("spoil", ["missing", "shape", "strange", "code", "text", "list"])
def test_other_files_are_refused(
    spoil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    content: Any = weights(rng)
    file = tmp_path / "model.pth"
    if spoil == "missing":
        del content["conv_up2.0.bias"]
    elif spoil == "shape":
        content["conv_last.weight"] = torch.zeros(4, 64, 1, 1)
    elif spoil == "strange":
        content["decoder.weight"] = torch.zeros(3)
    elif spoil == "code":
        content["conv_last.weight"] = Runs()
    elif spoil == "list":
        content = [1, 2]
    if spoil == "text":
        file.write_text("not a network")
    elif spoil == "code":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file)
    with pytest.raises(ModelError) as caught:
        face_normals.add(file)
    assert caught.value.exit_code == 5 and FACE_NORMALS.home in caught.value.fix
    assert not Path("it_ran").exists() and not cache.location(FACE_NORMALS).exists()


def test_without_the_file_the_run_ends_and_says_how_to_add_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="models add face_normals") as caught:
        normal_network.NormalNetwork()
    assert caught.value.exit_code == 5


def test_the_default_asks_for_nothing_and_a_networks_normals_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path))
    assert "normals" not in deciding(PreprocessSettings())
    assert not any(STAGE.inputs(PreprocessSettings()))
    assert not any(STAGE.inputs(PreprocessSettings(normals="network")))
    clip = synthetic.make(12, 64, 2)
    workspace = synthetic.write_workspace(tmp_path / "w.avatar", clip=clip, tracked=True)
    for i in range(len(clip)):
        workspace.write_image(f"{layout.HEAD_NORMALS}/{layout.frame_name(i)}", np.full((64, 64, 3), 9, np.uint8))
    assert (load_clip(workspace).normals[0] == 9).all()  # type: ignore[index]
    workspace.write_json(layout.VIDEO, workspace.read_json(layout.VIDEO) | {"normals": "network"})
    assert np.array_equal(load_clip(workspace).normals[0], clip.normals[0])  # type: ignore[index]
