"""Cameras, neutral frames and the video writer, each by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_workspace import PaintedAvatar, random_params

from headavatar.errors import HeadAvatarError, InputError, UsageError, WorkspaceError
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.render.camera_files import in_world, read_cameras
from headavatar.render.cameras import Shot, around, degrees_from, swing
from headavatar.render.expressions import Handles
from headavatar.render.neutral import neutral_frame
from headavatar.render.sequences import yaw_swing
from headavatar.render.video import VideoWriter
from headavatar.scene import ARKIT_NAMES, Array, Camera


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


def random_pose(rng: np.random.Generator, place: tuple[float, float, float]) -> Array:
    pose = np.eye(4)
    pose[:3, :3] = axis_angle_to_matrix_np(rng.normal(0, 0.3, 3))
    pose[:3, 3] = np.array(place) + rng.normal(0, 0.02, 3)
    return pose


def pixels_of(shot: Shot, points: Array) -> Array:
    pose = shot.head_to_world
    return shot.camera.project(points @ pose[:3, :3].T + pose[:3, 3])[0]


def test_a_moved_head_is_the_same_picture_as_a_moved_camera(camera: Camera, rng: np.random.Generator) -> None:
    params = random_params(rng, 9)[int(rng.integers(9))]
    view = around(camera, params.translation[0].astype(float), *rng.uniform(-1, 1, 2))
    shot = Shot(params, view)
    moved = shot.seen_by(camera)
    np.testing.assert_array_equal(moved.camera.world_to_camera, camera.world_to_camera)
    points = rng.uniform(-0.1, 0.1, (20, 3))
    np.testing.assert_allclose(pixels_of(moved, points), pixels_of(shot, points), atol=2e-3)


def test_the_swing_turns_the_head_to_both_sides_and_back(camera: Camera, rng: np.random.Generator) -> None:
    rest = random_params(rng, 40)[20]
    degrees = float(rng.uniform(5, 40))
    shots = yaw_swing(rest, camera, degrees)
    assert len(shots) == 100
    turned = [float(degrees_from(shot.params, rest)[0]) for shot in shots]
    assert turned[0] < 0.1 and turned[50] < 0.1
    assert max(turned) == pytest.approx(degrees, abs=0.2)
    np.testing.assert_allclose(turned[25], turned[75], atol=0.2)
    away = [np.linalg.norm(shot.params.rotation[0] - shots[i - 1].params.rotation[0]) for i, shot in enumerate(shots)]
    assert max(away) < np.radians(degrees) * 2 * np.pi / 100 * 1.2  # no jump, none at the seam either


def test_transforms_json_is_read_with_its_own_axes(tmp_path: Path, rng: np.random.Generator) -> None:
    points = rng.uniform(-0.08, 0.08, (15, 3))
    wanted, frames = [], []
    fx, fy, cx, cy = rng.uniform(200, 400), rng.uniform(200, 400), rng.uniform(40, 80), rng.uniform(40, 80)
    for _ in range(3):
        pose = random_pose(rng, (0, 0, 0.6))  # OpenGL: camera to world, looks along -z
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        wanted.append(np.stack([cx + fx * local[:, 0] / -local[:, 2], cy - fy * local[:, 1] / -local[:, 2]], -1))
        frames.append({"transform_matrix": pose.tolist()})
    about = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": 128, "h": 96, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(about))
    cameras, in_head_space = read_cameras(tmp_path / "transforms.json")
    assert in_head_space and [(c.width, c.height) for c in cameras] == [(128, 96)] * 3
    for camera, pixels in zip(cameras, wanted, strict=True):
        np.testing.assert_allclose(camera.project(points)[0], pixels, atol=1e-6)
    head = random_pose(rng, (0, 0, -0.5))
    seen = in_world(cameras[0], head).project(points @ head[:3, :3].T + head[:3, 3])[0]
    np.testing.assert_allclose(seen, wanted[0], atol=1e-6)


def test_an_angle_of_view_and_a_camera_per_frame_are_read(tmp_path: Path, rng: np.random.Generator) -> None:
    angle, width = rng.uniform(0.3, 1.2), int(rng.integers(32, 200))
    row = {"transform_matrix": random_pose(rng, (0, 0, 1)).tolist(), "camera_angle_x": angle, "w": width, "h": 64}
    (tmp_path / "c.json").write_text(json.dumps({"frames": [row], "space": "world"}))
    (camera,), in_head_space = read_cameras(tmp_path / "c.json")
    assert not in_head_space
    edge = np.linalg.inv(camera.K) @ [width, 32, 1]
    assert np.arctan(edge[0]) * 2 == pytest.approx(angle)


def test_our_own_cameras_are_read_one_or_many(tmp_path: Path, rng: np.random.Generator) -> None:
    poses = [random_pose(rng, (0, 0, 0.5)) for _ in range(2)]
    K = [[300, 0, 60], [0, 310, 50], [0, 0, 1]]
    for given in (poses[0].tolist(), [pose.tolist() for pose in poses]):
        about = {"K": K, "world_to_camera": given, "width": 120, "height": 100}
        (tmp_path / "cameras.json").write_text(json.dumps(about))
        cameras, in_head_space = read_cameras(tmp_path / "cameras.json")
        assert not in_head_space
        for camera, pose in zip(cameras, poses, strict=False):
            np.testing.assert_allclose(camera.world_to_camera, pose)
            np.testing.assert_allclose(camera.K, K)
    assert len(cameras) == 2


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"hello": 1}, "no cameras"),
        ({"frames": []}, "no cameras"),
        ({"frames": [7]}, "no cameras"),
        ({"frames": [{}], "head_to_space": np.zeros((4, 4)).tolist()}, "no cameras"),
        ({"frames": [{"w": 9, "h": 9, "fl_x": 5}]}, "transform_matrix"),
        ({"frames": [{"w": 9, "h": 9, "transform_matrix": np.eye(4).tolist()}]}, "fl_x"),
        ({"frames": [{"w": 9, "h": 9, "fl_x": 5, "transform_matrix": np.diag([2.0, 2, 2, 1]).tolist()}]}, "rotation"),
        ({"frames": [{"w": 0, "h": 9, "fl_x": 5, "transform_matrix": np.eye(4).tolist()}]}, "w is 0"),
        ({"K": [[1, 0], [0, 1]], "width": 9, "height": 9, "world_to_camera": np.eye(4).tolist()}, "K"),
        ({"K": np.eye(3).tolist(), "width": 9, "height": 9, "space": "moon", "world_to_camera": []}, "moon"),
    ],
)
def test_a_file_that_holds_no_cameras_says_why(tmp_path: Path, about: dict, said: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=said):
        read_cameras(tmp_path / "c.json")


def test_expressions_are_put_where_their_names_say(rng: np.random.Generator) -> None:
    handles, params = Handles.of(PaintedAvatar()), random_params(rng, 3)
    chosen = rng.choice(52, 4, replace=False)
    values = {ARKIT_NAMES[i]: round(float(rng.uniform()), 3) for i in chosen}
    parsed = handles.parse(" , ".join(f"{name} = {value}" for name, value in values.items()))
    assert parsed == values
    put = handles.put(params, parsed)
    for i, name in enumerate(ARKIT_NAMES):
        wanted = values[name] if name in values else params.expression[:, i]
        np.testing.assert_allclose(put.expression[:, i], wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "meant"), [("smile", "mouthSmileLeft"), ("JAWOPEN", "jawOpen"), ("eyeBlnkLeft", "eyeBlinkLeft")]
)
def test_a_wrong_name_is_answered_with_near_ones(name: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        Handles.of(PaintedAvatar()).parse(f"{name}=0.5")
    assert meant in caught.value.fix


def test_values_that_training_never_showed_are_said() -> None:
    avatar = PaintedAvatar()
    avatar.expression_range[1][ARKIT_NAMES.index("tongueOut")] = 0.0
    handles = Handles.of(avatar)
    assert handles.beyond({"jawOpen": 0.8, "cheekPuff": 0.1}) == []
    (far,) = handles.beyond({"jawOpen": 0.95})
    assert "jawOpen=0.95" in far and "0.80" in far
    (none,) = handles.beyond({"tongueOut": 0.4})
    assert "no effect" in none
    assert ARKIT_NAMES.index("tongueOut") not in handles.moving and len(handles.moving) == 51
