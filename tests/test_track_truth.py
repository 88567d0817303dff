"""Tracking against known truth: made-up people, filmed through a real video file and seen by the real networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import need_networks
from speech import perform
from talking_heads import Truth, cast, film
from truth_figures import Row, compare, preprocessed, table, track_clip, truth_figures

from headavatar.head.rotations import axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.preprocess.settings import PreprocessSettings
from headavatar.progress import RunContext
from headavatar.scene import ARKIT_NAMES
from headavatar.track import stage
from headavatar.track.settings import TrackSettings
from headavatar.workspace import Workspace, layout

NETWORKS = ("face_landmarker", "selfie_segmenter", "selfie_multiclass")


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """A short clip and its truth."""
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    video = tmp_path_factory.mktemp("truth") / "short.mp4"
    return video, film(video, seed, frames=40, width=480, height=360)


@pytest.fixture(scope="module")
def seen(filmed: tuple[Path, Truth]) -> tuple[Workspace, Truth]:
    """The clip as preprocess leaves it."""
    need_networks(*NETWORKS)
    settings = PreprocessSettings(video=str(filmed[0]), size=256, matting="selfie", workers=2)
    return preprocessed(filmed[0], settings), filmed[1]


def test_people_speak_turn_and_blink(rng: np.random.Generator) -> None:
    performance = perform(200, 25.0, rng)
    moves = dict(zip(ARKIT_NAMES, performance.expression.T, strict=True))
    assert performance.expression.min() >= 0 and performance.expression.max() <= 1
    assert (moves["mouthClose"] <= moves["jawOpen"]).all()  # closing a mouth that is not open folds the lips
    assert moves["eyeBlinkLeft"].max() > 0.8 and moves["jawOpen"].max() > 0.4
    yaw = np.degrees(np.arctan2(*axis_angle_to_matrix_np(performance.rotation)[:, [0, 2], 2].T))
    assert yaw.max() > 38 and yaw.min() < -38
    assert np.abs(np.diff(yaw)).max() < 15


def test_people_stay_in_the_picture(rng: np.random.Generator) -> None:
    for _ in range(20):
        truth = cast(perform(40, 30.0, rng), 30.0, rng, 480, 360)
        middle = truth.landmarks.mean(1)
        assert (middle > [60, 45]).all() and (middle < [420, 315]).all()


def test_the_truth_has_no_error_and_a_known_error_its_figure(filmed: tuple[Path, Truth]) -> None:
    truth = Truth.load(filmed[0].with_suffix(".npz"))
    rows = np.arange(len(truth.params))
    figures = compare(truth.params, truth.camera, truth, rows)
    for name in ("vertex_mm", "vertex_mm_similarity", "rotation_deg", "rotation_deg_varying", "landmark_nme"):
        assert figures[name] < 0.02, name
    assert figures["correlation_least"] > 0.999 and figures["gaze_deg"] < 0.1
    assert figures["neck_deg"] < 0.02 and figures["neck_deg_true"] > 2

    tilt = axis_angle_to_matrix_np(np.radians([[0.0, 2.0, 0.0]]))
    turned = matrix_to_axis_angle_np(axis_angle_to_matrix_np(truth.params.rotation) @ tilt).astype(np.float32)
    figures = compare(replace(truth.params, rotation=turned), truth.camera, truth, rows)
    assert figures["rotation_deg"] == pytest.approx(2, abs=0.02) and figures["rotation_deg_varying"] < 0.02
    assert figures["gaze_deg"] < 0.1 and figures["gaze_deg_world"] == pytest.approx(2, abs=0.1)

    away = replace(truth.params, translation=truth.params.translation + np.array([0, 0, -0.05], np.float32))
    figures = compare(away, truth.camera, truth, rows)
    assert figures["vertex_mm"] > 1 and figures["vertex_mm_similarity"] < 0.02


def test_the_video_shows_the_truth(seen: tuple[Workspace, Truth]) -> None:
    """The network finds the face in nearly every frame, where it truly is, and at the right time."""
    workspace, truth = seen
    points, video = workspace.read_npz(layout.LANDMARKS), workspace.read_json(layout.VIDEO)
    assert points["detected"].mean() > 0.95 and len(points["detected"]) == len(truth.params)
    x, y, side = video["crop"]
    pixels = points["landmarks"][..., :2] * side / video["size"] + [x, y]

    def apart(shift: int) -> float:
        frames = np.arange(3, len(pixels) - 3)
        return float(np.nanmean(np.linalg.norm(pixels[frames] - truth.landmarks[frames + shift], axis=-1)))

    errors = {shift: apart(shift) for shift in (-2, -1, 0, 1, 2)}
    print(errors)
    assert min(errors, key=errors.__getitem__) == 0
    eyes = np.linalg.norm(truth.landmarks[:, 33] - truth.landmarks[:, 263], axis=1).max()
    assert errors[0] < 0.06 * eyes


def test_a_short_clip_is_tracked(seen: tuple[Workspace, Truth]) -> None:
    workspace, truth = seen
    settings = TrackSettings(refine="fast", keyframes=32, surfels=2000, texture_size=64, texture_frames=4)
    stage.run(workspace, settings, RunContext())
    figures = truth_figures(workspace, truth)
    print(table([Row("short", "fast", figures)]))
    assert figures["frames"] > 0.8 * len(truth.params)
    assert figures["vertex_mm_similarity"] < 25 and figures["rotation_deg"] < 12
    assert figures["landmark_nme"] < 0.05 and figures["correlation"] > 0.2


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """The figures of five clips, by clip and refinement."""
    need_networks("face_landmarker", "modnet", "selfie_multiclass")
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    rows: list[Row] = []
    for i in range(5):
        video = tmp_path_factory.mktemp("five") / f"{i}.mp4"
        film(video, seed + i)
        rows += track_clip(video, 256)
    print(table(rows))
    return {(row.clip, row.refine): row.figures for row in rows}


def mean(five: dict[tuple[str, str], dict[str, Any]], figure: str) -> float:
    return float(np.mean([figures[figure] for (_, refine), figures in five.items() if refine == "quality"]))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_five_clips_come_as_near_as_before(five: dict[tuple[str, str], dict[str, Any]]) -> None:
    """The picture betters the landmarks on every clip; vertices are compared after a scale and a depth shift."""
    for clip in {clip for clip, _ in five}:
        coarse = five[clip, "none"]
        for refine in ("balanced", "quality"):
            fine = five[clip, refine]
            for figure in ("vertex_mm_similarity", "rotation_deg", "landmark_nme"):
                assert fine[figure] < coarse[figure], (clip, refine, figure)
            assert fine["correlation"] > coarse["correlation"], (clip, refine)
    assert mean(five, "vertex_mm_similarity") < 5.0
    assert mean(five, "rotation_deg") < 1.5
    assert mean(five, "correlation") > 0.75
    assert mean(five, "gaze_deg") < 5.0
    assert mean(five, "landmark_nme") < 0.02
    assert mean(five, "neck_deg") < 0.5 * mean(five, "neck_deg_true")  # the torso turns a little too


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.xfail(strict=True, reason="not reached yet: vertices, by the focal length, correlation and gaze")
def test_five_clips_to_the_bars(five: dict[tuple[str, str], dict[str, Any]]) -> None:
    """What the tracker is meant to reach; when it does, this says so by failing."""
    for clip in {clip for clip, _ in five}:
        coarse, full = five[clip, "none"], five[clip, "balanced"]
        assert full["vertex_mm"] < coarse["vertex_mm"] and full["rotation_deg"] < coarse["rotation_deg"], clip
    assert mean(five, "vertex_mm") < 2.5
    assert mean(five, "rotation_deg") < 1.0
    assert mean(five, "correlation") > 0.9
    assert mean(five, "gaze_deg") < 4.0
    assert mean(five, "landmark_nme") < 0.02
