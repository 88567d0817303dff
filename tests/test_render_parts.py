"""Cameras, neutral frames and the video writer, each by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_workspace import random_params

from headavatar.errors import HeadAvatarError, WorkspaceError
from headavatar.render.cameras import around, swing
from headavatar.render.neutral import neutral_frame
from headavatar.render.video import VideoWriter
from headavatar.scene import Camera


@pytest.fixture
def camera() -> Camera:
    return Camera(np.array([[300.0, 0, 64], [0, 300, 64], [0, 0, 1]]), 128, 128)


def test_orbit_keeps_the_pivot_in_place_and_at_its_distance(camera: Camera, rng: np.random.Generator) -> None:
    pivot = np.array([0.02, -0.03, -0.6]) + rng.normal(0, 0.02, 3)
    before = camera.project(pivot)
    for view in swing(camera, pivot, 12, 30.0, 10.0):
        pixel, depth = view.project(pivot)
        np.testing.assert_allclose(pixel, before[0], atol=1e-6)
        assert depth == pytest.approx(before[1])
        rotation = view.world_to_camera[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)


def test_a_camera_to_the_subjects_left_sees_more_of_that_side(camera: Camera) -> None:
    pivot = np.array([0.0, 0.0, -0.6])
    nose = pivot + [0, 0, 0.1]
    view = around(camera, pivot, np.radians(20))
    # world +x is the picture's right; seen from there, what points at the old camera moves to the left
    assert view.camera_to_world[0, 3] > 0.1
    assert view.project(nose)[0][0] < camera.project(nose)[0][0] - 5
    above = around(camera, pivot, 0.0, np.radians(20))
    assert above.camera_to_world[1, 3] > 0.1


def test_the_neutral_frame_is_the_calm_stretch(rng: np.random.Generator) -> None:
    frames = int(rng.integers(30, 90))
    params = random_params(rng, frames)
    assert abs(neutral_frame(params) - frames // 2) <= 3


def test_the_neutral_frame_is_no_lone_calm_frame(rng: np.random.Generator) -> None:
    params = random_params(rng, 60)
    lone = 7
    for values in (params.expression, params.rotation, params.neck, params.jaw, params.eyes):
        values[lone] = 0
    assert abs(neutral_frame(params) - 30) <= 3


def test_odd_sizes_are_padded_and_sizes_may_not_change(tmp_path: Path, rng: np.random.Generator) -> None:
    import imageio_ffmpeg

    path = tmp_path / "odd.mp4"
    with VideoWriter(path, 12.5) as writer:
        for _ in range(4):
            writer.write(rng.integers(0, 255, (33, 47, 3), dtype=np.uint8))
        with pytest.raises(ValueError):
            writer.write(np.zeros((34, 47, 3), np.uint8))
    meta = next(imageio_ffmpeg.read_frames(str(path)))
    assert meta["size"] == (48, 34) and meta["fps"] == pytest.approx(12.5)


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    pictures = rng.integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name, 25) as writer:
            for picture in pictures:
                writer.write(picture)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_failures_are_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(HeadAvatarError), VideoWriter(tmp_path / "empty.mp4", 25):
        pass
    with pytest.raises(WorkspaceError) as caught, VideoWriter(tmp_path / "no" / "folder.mp4", 25) as writer:
        for _ in range(100):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    assert "folder.mp4" in str(caught.value)
