"""What `render` leaves behind, read back with another reader."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from small_workspace import SIZE, install_painted_method, write_small_workspace

from headavatar.errors import UsageError
from headavatar.progress import RunContext
from headavatar.render.settings import RenderSettings
from headavatar.render.stage import run
from headavatar.workspace import Workspace
from headavatar.workspace.clips import read_image


@pytest.fixture
def fitted(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    install_painted_method(monkeypatch)
    return write_small_workspace(tmp_path / "anna.avatar", rng)


def read_video(path: Path) -> tuple[dict, np.ndarray]:
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, np.stack([np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader])


def test_self_shows_every_frame_beside_the_avatar(fitted: Workspace) -> None:
    summary = run(fitted, RenderSettings(mode="self"), RunContext())
    assert summary["files"] == ["renders/painted-self.mp4"]
    meta, frames = read_video(fitted.path("renders/painted-self.mp4"))
    assert len(frames) == summary["pictures"] == 36
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
    assert meta["fps"] == pytest.approx(10.0)
    assert frames.shape[2] == 2 * SIZE
    # the avatar painted the video, so both halves agree; below the caption
    left, right = frames[:, -SIZE:, :SIZE].astype(int), frames[:, -SIZE:, SIZE:].astype(int)
    assert np.abs(left - right).mean() < 4


def test_held_out_frames_are_marked(fitted: Workspace) -> None:
    run(fitted, RenderSettings(mode="self", size=128), RunContext())
    _, frames = read_video(fitted.path("renders/painted-self.mp4"))
    from headavatar.workspace import load_clip

    split = load_clip(fitted).split
    edge = frames[:, -2, :].astype(int).mean(axis=1)  # the border's row
    orange = np.abs(edge - [255, 140, 0]).max(axis=1) < 40
    assert set(np.flatnonzero(orange)) == set(split.holdout.tolist())


def test_range_size_and_background(fitted: Workspace) -> None:
    run(fitted, RenderSettings(mode="self", frames="4:9", size=96, background="black"), RunContext())
    _, frames = read_video(fitted.path("renders/painted-self.mp4"))
    assert len(frames) == 5 and frames.shape[2] == 192
    assert frames[:, -6:-4, 6:10].max() < 40


def test_sweep_orbit_and_still(fitted: Workspace) -> None:
    summary = run(fitted, RenderSettings(mode="sweep", expression="jawOpen=0.6"), RunContext())
    assert "renders/painted-sweep.png" in summary["files"]
    _, frames = read_video(fitted.path("renders/painted-sweep.mp4"))
    assert len(frames) == 52 * 9
    still = read_image(fitted.path("renders/painted-expression.png"))
    assert still.reshape(-1, 3)[:, 0].min() == pytest.approx(0.6 * 255, abs=2)
    run(fitted, RenderSettings(mode="orbit"), RunContext())
    assert len(read_video(fitted.path("renders/painted-orbit.mp4"))[1]) == 60


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": "90:95"}, "0:36"),
        ({"frames": "five"}, "A:B"),
        ({"expression": "jawOpne=1"}, "jawOpen"),
        ({"expression": "jawOpen=7"}, "between 0 and 1"),
        ({"size": 5}, "16"),
        ({"avatar": "paintd"}, "painted"),
    ],
)
def test_wrong_settings_say_what_would_be_right(fitted: Workspace, change: dict, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(fitted, RenderSettings(**{"mode": "self", **change}), RunContext())
    assert said in str(caught.value)
