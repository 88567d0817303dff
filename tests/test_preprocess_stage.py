"""The whole stage on pieces of real clips: its files, its refusals, and kills at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import clip, ffmpeg, need_networks

from headavatar.errors import InputError
from headavatar.preprocess.settings import MINIMUM_USABLE_FRAMES, PreprocessSettings, models
from headavatar.preprocess.stage import run
from headavatar.progress import RunContext
from headavatar.workspace import Workspace
from headavatar.workspace.clips import read_image

LIGHT = {"size": 256, "matting": "selfie"}
FRAMES = MINIMUM_USABLE_FRAMES + 4
PICTURES = ("frames", "mattes", "head_mattes", "parsing", "normals")

RUN = """
import sys
from headavatar.preprocess.settings import PreprocessSettings
from headavatar.preprocess.stage import run
from headavatar.progress import RunContext
from headavatar.workspace import Workspace
run(Workspace.create(sys.argv[1]), PreprocessSettings(video=sys.argv[2], size=256, matting="selfie"), RunContext())
"""


@pytest.fixture(scope="module", autouse=True)
def networks() -> None:
    need_networks(*models(PreprocessSettings(**LIGHT)))


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a woman talking, the face gone in two frames."""
    path = tmp_path_factory.mktemp("piece") / "piece.mp4"
    gone = "drawbox=t=fill:color=gray:enable='between(n,5,6)'"
    ffmpeg("-i", clip("clip_a_expressions.mp4"), "-vf", gone, "-frames:v", str(FRAMES), "-an", path)
    return path


@pytest.fixture(scope="module")
def whole(piece: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """What an uninterrupted run gives."""
    workspace = Workspace.create(tmp_path_factory.mktemp("whole") / "w.avatar")
    summary = run(workspace, PreprocessSettings(video=str(piece), **LIGHT), RunContext())
    assert summary["frames"] == FRAMES and summary["usable"] == FRAMES - 2
    return workspace


def source_bytes(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.path("source")
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_files(whole: Workspace) -> None:
    for folder in PICTURES:
        assert len(list(whole.path("source", folder).iterdir())) == FRAMES
    rows = whole.read_jsonl("source/frames.jsonl")
    assert [row["frame"] for row in rows if row["reason"] == "no_face"] == [5, 6]
    assert all(row["usable"] == (row["reason"] == "") for row in rows)
    assert [row["time_s"] for row in rows] == pytest.approx(np.arange(FRAMES) / 30, abs=1e-3)
    data = whole.read_npz("source/landmarks.npz")
    assert data["landmarks"].shape == (FRAMES, 478, 3) and data["scores"].shape == (FRAMES, 52)
    assert data["pose"].shape == (FRAMES, 4, 4) and list(np.flatnonzero(~data["detected"])) == [5, 6]
    assert np.isnan(data["landmarks"][5]).all() and np.isfinite(data["landmarks"][0]).all()
    video = whole.read_json("source/video.json")
    assert (video["width"], video["height"], video["size"], video["frames"]) == (512, 512, 256, FRAMES)


def test_masks_fit_the_face(whole: Workspace) -> None:
    points = whole.read_npz("source/landmarks.npz")["landmarks"][0]
    face = np.zeros((256, 256), np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(points[:468, :2].astype(np.int32)), 1)
    inside = cv2.erode(face, np.ones((9, 9))) > 0
    pictures = {name: read_image(whole.path("source", name, "000000.png"), gray=name != "normals")
                for name in ("mattes", "head_mattes", "parsing", "normals")}  # fmt: skip
    assert pictures["mattes"][inside].mean() > 250 and pictures["head_mattes"][inside].mean() > 250
    assert pictures["head_mattes"][:8, :8].max() < 5
    assert (pictures["parsing"][inside] == 3).mean() > 0.8  # the skin of the face
    nose = points[4, :2].astype(int)
    tip = pictures["normals"][nose[1], nose[0]] / 127.5 - 1
    assert tip[2] > 0.7  # at the viewer
    left, right = (pictures["normals"][int(points[k, 1]), int(points[k, 0])] / 127.5 - 1 for k in (205, 425))
    assert left[0] < -0.1 < 0.1 < right[0]  # the cheeks look outwards


def test_killed_and_run_again_gives_the_same(whole: Workspace, piece: Path, tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "k.avatar"
    command = [sys.executable, "-c", RUN, str(folder), str(piece)]
    random = np.random.default_rng(seed)
    for _ in range(2):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        begun = time.monotonic()
        target = random.choice(["scan", "crops", "raw_heads", "mattes", "normals"])
        while process.poll() is None and time.monotonic() - begun < 60:
            if (folder / ".state/tmp/preprocess" / str(target)).exists():
                break
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    expected, found = source_bytes(whole), source_bytes(Workspace.open(folder))
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_shorter_run_leaves_nothing_of_the_longer(piece: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "s.avatar")
    for name in PICTURES:
        workspace.write_image(f"source/{name}/000099.png", np.zeros((4, 4), np.uint8))
    settings = PreprocessSettings(video=str(piece), max_frames=FRAMES - 1, **LIGHT)
    run(workspace, settings, RunContext())
    names = {file.name for name in PICTURES for file in workspace.path("source", name).iterdir()}
    assert len(names) == FRAMES - 1 and "000099.png" not in names


def test_unusable_clips_say_what_was_seen(piece: Path, tmp_path: Path) -> None:
    two, none, short = tmp_path / "two.mp4", tmp_path / "none.mp4", tmp_path / "short.mp4"
    ffmpeg("-i", piece, "-vf", "split[a][b];[a][b]hstack", "-an", two)
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=256x256:r=30:d=1", none)
    ffmpeg("-i", piece, "-frames:v", "3", short)
    cases = {two: "two faces", none: "no face", short: "3 of 3 frames can be used"}
    for video, words in cases.items():
        with pytest.raises(InputError) as caught:
            run(Workspace.create(tmp_path / f"{video.stem}.avatar"), PreprocessSettings(video=str(video), **LIGHT),
                RunContext())  # fmt: skip
        assert words in caught.value.why and str(MINIMUM_USABLE_FRAMES) in caught.value.why
        assert not (tmp_path / f"{video.stem}.avatar" / "source").exists()
