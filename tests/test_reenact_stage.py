"""`reenact` from one workspace to another: the driven parameters, the video and its sheet."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from small_workspace import SIZE, install_painted_method, write_small_workspace

from headavatar.errors import UsageError
from headavatar.progress import RunContext
from headavatar.reenact.motion import read_motion
from headavatar.reenact.settings import ReenactSettings
from headavatar.reenact.stage import run
from headavatar.scene import ARKIT_NAMES
from headavatar.workspace import Workspace, load_params
from headavatar.workspace.clips import read_image


@pytest.fixture
def pair(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, Workspace]:
    install_painted_method(monkeypatch)
    driver = write_small_workspace(tmp_path / "ben.avatar", rng, frames=20)
    return driver, write_small_workspace(tmp_path / "anna.avatar", rng)


def frames_of(path: Path) -> np.ndarray:
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader])


def test_the_driver_moves_the_targets_avatar(pair: tuple[Workspace, Workspace]) -> None:
    driver, target = pair
    summary = run(target, ReenactSettings(src=str(driver.root)), RunContext())
    assert (summary["driver"], summary["target"], summary["frames"]) == ("ben", "anna", 20)
    frames = frames_of(target.path("renders/painted-driven-by-ben.mp4"))
    assert frames.shape[0] == 20 and frames.shape[2] == 2 * SIZE
    assert read_image(target.path("renders/painted-driven-by-ben.png")).shape[1] > 2 * SIZE
    driven = read_motion(target.path("renders/painted-driven-by-ben.npz"))
    np.testing.assert_array_equal(driven.params.identity, load_params(target).identity)
    # what is seen is what was transferred: the disc's red is jawOpen
    jaw = driven.params.expression[:, ARKIT_NAMES.index("jawOpen")]
    red = frames[:, -SIZE // 2, SIZE + SIZE // 2, 0] / 255
    assert np.corrcoef(jaw, red)[0, 1] > 0.95


def test_a_motion_file_drives_without_pictures(pair: tuple[Workspace, Workspace]) -> None:
    driver, target = pair
    run(target, ReenactSettings(src=str(driver.root), transfer="absolute"), RunContext())
    motion = target.path("renders/painted-driven-by-ben.npz")
    moved = motion.rename(motion.with_name("wave.npz"))
    summary = run(target, ReenactSettings(src=str(moved), transfer="absolute", frames="2:8"), RunContext())
    assert summary["driver"] == "wave"
    assert frames_of(target.path("renders/painted-driven-by-wave.mp4")).shape[:3:2] == (6, SIZE)
    np.testing.assert_allclose(
        read_motion(target.path("renders/painted-driven-by-wave.npz")).params.expression,
        load_params(driver).expression,
    )


def test_neutral_frames_can_be_chosen(pair: tuple[Workspace, Workspace]) -> None:
    driver, target = pair
    settings = ReenactSettings(src=str(driver.root), src_neutral=3, tgt_neutral=5)
    summary = run(target, settings, RunContext())
    assert (summary["src_neutral"], summary["tgt_neutral"]) == (3, 5)
    driven = read_motion(target.path("renders/painted-driven-by-ben.npz")).params
    np.testing.assert_allclose(driven.expression[3], load_params(target).expression[5], atol=1e-5)


def test_without_src_it_asks_who_drives(pair: tuple[Workspace, Workspace]) -> None:
    with pytest.raises(UsageError, match="Who drives"):
        run(pair[1], ReenactSettings(), RunContext())
