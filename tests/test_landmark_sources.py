"""A second network's 68 landmarks beside MediaPipe's 478: found, fused, or done without."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import face_alignment
import numpy as np
import pytest
import synthetic
import torch
from clips import clip, ffmpeg, need_networks

from headavatar.errors import ModelError
from headavatar.head.landmarks import EYE_OUTER_CORNERS, LIPS, MEDIAPIPE_TO_68
from headavatar.preprocess import points68, stage
from headavatar.preprocess.fusion import fused
from headavatar.preprocess.points68 import Points68
from headavatar.preprocess.settings import MINIMUM_USABLE_FRAMES, PreprocessSettings, models
from headavatar.progress import RunContext, SilentReporter
from headavatar.scene import Array
from headavatar.workspace import Workspace, layout
from headavatar.workspace.settings import deciding

COUNTERPARTS = list(MEDIAPIPE_TO_68)


class BrightestSpot(torch.nn.Module):
    """Stands for the network: every heat map peaks where the picture is reddest."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.avg_pool2d(pictures[:, :1], 4), 3, 1, 1)
        return blurred.expand(-1, points68.POINTS, -1, -1).clone()


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package as it is, but for its network."""
    monkeypatch.setattr(face_alignment.FaceAlignment, "_load_native", lambda *_: BrightestSpot())
    monkeypatch.setattr(points68, "_fetch", lambda url: Path())
    for name in ("_get_preds_fromhm", "transform_np"):  # compiling them takes longer than all else here
        monkeypatch.setattr(face_alignment.utils, name, getattr(face_alignment.utils, name).py_func)


class Listening(SilentReporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def test_the_packages_points_land_where_the_picture_has_them(weights: None, rng: np.random.Generator) -> None:
    detector = points68.load()
    y, x = np.mgrid[:256, :256] + 0.5
    errors = []
    for _ in range(40):
        low = rng.uniform(40, 80, 2)
        high = low + rng.uniform(90, 140, 2)
        spot = low + (high - low) * rng.uniform(0.2, 0.8, 2)
        image = np.zeros((256, 256, 3), np.uint8)
        image[..., 0] = 255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 18)
        points, confidence = points68.look(detector, image, np.stack([low, high]))
        assert points.shape == (68, 2) and 0.1 < confidence.min() <= confidence.max() <= 1
        errors.append(points - spot)
    step = 140 * 200 / 195 / 64  # a heat map's pixel in the picture
    assert np.abs(np.mean(errors, axis=(0, 1))).max() < 0.4 * step
    assert np.abs(errors).max() < 1.2 * step


def face(seed: int, frames: int = 20) -> Array:
    return synthetic.make(frames, 128, seed, noise_px=0.0).exact.astype(np.float64)


def unit(points: Array) -> Array:
    right, left = EYE_OUTER_CORNERS
    return np.asarray(np.linalg.norm(points[:, left, :2] - points[:, right, :2], axis=1))


def test_fusion_mends_what_mediapipe_missed_and_nothing_else(rng: np.random.Generator) -> None:
    truth = face(int(rng.integers(2**31)))
    eyes = unit(truth)
    defined = rng.normal(0, 0.04, (68, 2)) * eyes.mean()  # where the networks mean another place by the same name
    other = truth[:, COUNTERPARTS, :2] + defined + rng.normal(0, 0.004 * eyes.mean(), (len(truth), 68, 2))
    seen = truth.copy()
    wrong = np.array([3, 11, 12])
    seen[np.ix_(wrong, LIPS, [0, 1])] += 0.12 * eyes.mean()
    corrected = fused(seen, Points68(other, np.full(other.shape[:2], 0.95)), "both")
    assert np.array_equal(corrected[..., 2], seen[..., 2])

    def error(points: Array, frames: Array) -> float:
        return float((np.linalg.norm(points - truth, axis=2)[:, LIPS] / eyes[:, None])[frames].mean())

    right = np.setdiff1d(np.arange(len(truth)), wrong)
    print(error(seen, wrong), error(corrected, wrong), error(corrected, right))
    assert error(corrected, wrong) < 0.75 * error(seen, wrong)
    assert error(corrected, right) < 0.01
    far = np.linalg.norm(corrected - seen, axis=2)[:, 10]  # the forehead hears nothing of the lips
    assert (far / eyes).max() < 0.01


def test_fusion_hears_only_those_who_are_sure(rng: np.random.Generator) -> None:
    truth = face(int(rng.integers(2**31)))
    other = truth[:, COUNTERPARTS, :2] + rng.normal(0, 3, (len(truth), 68, 2))
    assert np.array_equal(fused(truth, Points68(other, np.zeros(other.shape[:2])), "both"), truth)
    gone = Points68(np.full_like(other, np.nan), np.zeros(other.shape[:2]))
    assert np.array_equal(fused(truth, gone, "face-alignment"), truth)
    unsure, sure = (fused(truth, Points68(other, np.full(other.shape[:2], c)), "both") for c in (0.2, 1.0))
    moved = [np.linalg.norm(p - truth, axis=2).mean() for p in (unsure, sure)]
    assert 0 < moved[0] < 0.3 * moved[1]


def test_face_alignment_alone_moves_the_counterparts_to_its_points(rng: np.random.Generator) -> None:
    truth = face(int(rng.integers(2**31)))
    truth[4] = np.nan
    other = truth[:, COUNTERPARTS, :2] + rng.normal(0, 0.03, (len(truth), 68, 2)) * np.nanmean(unit(truth))
    moved = fused(truth, Points68(other, np.full(other.shape[:2], 0.9)), "face-alignment")
    seen = np.delete(np.arange(len(truth)), 4)
    np.testing.assert_allclose(moved[seen][:, COUNTERPARTS, :2], other[seen], atol=1e-6)
    assert np.isnan(moved[4]).all()


def unreachable(*_: Any, **__: Any) -> None:
    raise urllib.error.URLError("timed out")


def test_without_weights_mediapipe_stands_alone_or_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    listening = Listening()
    assert stage.second_opinion(PreprocessSettings(landmarks="both"), listening) is None
    assert len(listening.warnings) == 1 and "\n" not in listening.warnings[0]
    assert "MediaPipe's alone" in listening.warnings[0] and "timed out" in listening.warnings[0]
    with pytest.raises(ModelError) as caught:
        stage.second_opinion(PreprocessSettings(landmarks="face-alignment"), listening)
    assert caught.value.exit_code == 5
    assert "https://" in caught.value.fix and str(tmp_path) in caught.value.fix
    assert stage.second_opinion(PreprocessSettings(), listening) is None and len(listening.warnings) == 1


def test_a_file_that_is_not_the_network_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = face_alignment.api.models_urls[points68.NETWORK]
    file = tmp_path / "hub" / "checkpoints" / Path(url).name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"something else")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(ModelError, match="is not face-alignment's network"):
        points68.load()


def test_the_default_leaves_older_workspaces_current() -> None:
    assert "landmarks" not in deciding(PreprocessSettings())
    assert deciding(PreprocessSettings(landmarks="both"))["landmarks"] == "both"


def test_the_stage_stores_both(weights: None, tmp_path: Path) -> None:
    settings = PreprocessSettings(size=256, matting="selfie", landmarks="both")
    need_networks(*models(settings))
    gone = "drawbox=t=fill:color=gray:enable='between(n,5,6)'"
    count = MINIMUM_USABLE_FRAMES + 4
    ffmpeg("-i", clip("clip_a_expressions.mp4"), "-vf", gone, "-frames:v", str(count), "-an", tmp_path / "v.mp4")
    workspace = Workspace.create(tmp_path / "v.avatar")
    settings = PreprocessSettings(video=str(tmp_path / "v.mp4"), size=256, matting="selfie", landmarks="both")
    summary = stage.run(workspace, settings, RunContext())
    assert summary["landmarks"] == "both"
    stored = workspace.read_npz(layout.LANDMARKS)
    assert stored["points68"].shape == (count, 68, 2) and stored["confidence68"].shape == (count, 68)
    assert list(np.flatnonzero(np.isnan(stored["points68"][:, 0, 0]))) == [5, 6]
    assert (stored["confidence68"][[5, 6]] == 0).all()
    inside = stored["points68"][stored["detected"]]
    assert inside.min() > 0 and inside.max() < 256
