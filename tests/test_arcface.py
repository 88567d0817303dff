"""The door for a face recognition network: its file is taken in, checked, and compares pictures; random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic
import torch
from small_fit import clip_of
from small_nha import coarse, run, trainer_of
from torch import Tensor, nn

from headavatar.errors import ModelError
from headavatar.methods import get
from headavatar.metrics.arcface import ArcFaceFeatures
from headavatar.pretrained import arcface, cache
from headavatar.pretrained.catalog import ARCFACE


class Block(nn.Module):
    """A residual block as its paper draws it: norms before the first and behind the last convolution."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(before), nn.Conv2d(before, width, 3, 1, 1, bias=False)
        self.bn2, self.prelu = nn.BatchNorm2d(width), nn.PReLU(width)
        self.conv2, self.bn3 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (self.downsample(x) if hasattr(self, "downsample") else x)


class Backbone(nn.Module):
    """The whole network, from which its authors save a state dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.prelu = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        widths = (64, 64, 128, 256, 512)
        for i, (before, width) in enumerate(zip(widths, widths[1:], strict=False), 1):
            setattr(self, f"layer{i}", nn.Sequential(Block(before, width, 2), Block(width, width, 1)))
        self.bn2, self.fc, self.features = nn.BatchNorm2d(512), nn.Linear(512, 8), nn.BatchNorm1d(8)

    def halfway(self, x: Tensor) -> Tensor:
        return self.layer2(self.layer1(self.prelu(self.bn1(self.conv1(x * 2 - 1)))))


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> Backbone:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(seed)
    made = Backbone().eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    torch.save(made.state_dict(), tmp_path / "backbone.pth")
    assert arcface.add(tmp_path / "backbone.pth") == cache.location(ARCFACE)
    return made


def test_features_are_those_of_the_network(network: Backbone, rng: np.random.Generator) -> None:
    picture = torch.from_numpy(rng.random((2, 3, 40, 56), dtype=np.float32))
    with torch.no_grad():
        assert torch.allclose(ArcFaceFeatures().features(picture), network.halfway(picture), rtol=1e-4, atol=1e-4)


def test_equal_pictures_are_no_way_apart_and_gradients_lead_together(
    network: Backbone, rng: np.random.Generator
) -> None:
    distance = ArcFaceFeatures()
    a, b = (torch.from_numpy(rng.random((1, 3, 32, 32), dtype=np.float32)) for _ in range(2))
    assert distance(a, a).item() == 0
    a.requires_grad_()
    before = distance(a, b)
    before.sum().backward()
    assert a.grad is not None
    with torch.no_grad():
        assert distance(a - 1e-3 * a.grad / a.grad.norm(), b) < before
    with pytest.raises(ValueError, match="compared"):
        distance(a, b[..., 1:])


def test_a_fit_takes_them(network: Backbone, seed: int) -> None:
    clip = clip_of(synthetic.make(8, 48, 3))
    settings = {"perceptual_network": "arcface", "perceptual_from": 0.0, "patch": 32}
    with coarse():
        plain = run(trainer_of(clip, seed)).state()
        other = run(trainer_of(clip, seed, **settings, perceptual_weight=0.1)).state()
    assert any(not torch.equal(plain[name], other[name]) for name in plain if name.startswith("texture."))
    spec = get("neural-head-avatar")
    assert spec.models(spec.resolve("fast", {"perceptual_network": "arcface"})) == ()


def test_without_the_file_a_fit_ends_and_says_how_to_add_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="models add arcface") as caught:
        ArcFaceFeatures()
    assert caught.value.exit_code == 5 and "perceptual_network" in caught.value.fix


def test_a_deeper_network_is_refused(network: Backbone, tmp_path: Path) -> None:
    content = network.state_dict() | {"layer1.2.bn1.weight": torch.ones(64)}
    torch.save(content, tmp_path / "deeper.pth")
    with pytest.raises(ModelError, match="do not belong"):
        arcface.add(tmp_path / "deeper.pth")
