"""What `render` leaves behind, read back with another reader."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from small_workspace import SIZE, PaintedAvatar, color_of, install_painted_method, write_small_workspace

from headavatar.errors import UsageError
from headavatar.progress import RunContext
from headavatar.render.camera_files import read_cameras
from headavatar.render.cameras import Shot
from headavatar.render.settings import RenderSettings
from headavatar.render.stage import run
from headavatar.scene import ARKIT_NAMES
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
    sheet = read_image(fitted.path("renders/painted-sweep.png"))
    assert sheet.shape[1] > 4 * 5 * 96 and sheet.shape[0] > 13 * 96  # 13 rows of 4 expressions in 5 steps
    still = read_image(fitted.path("renders/painted-expression.png"))
    assert still.reshape(-1, 3)[:, 0].min() == pytest.approx(0.6 * 255, abs=2)
    run(fitted, RenderSettings(mode="orbit"), RunContext())
    assert len(read_video(fitted.path("renders/painted-orbit.mp4"))[1]) == 60


def test_the_sheet_goes_from_the_least_to_the_most(fitted: Workspace) -> None:
    run(fitted, RenderSettings(mode="sweep"), RunContext())
    sheet = read_image(fitted.path("renders/painted-sweep.png")).astype(int)
    place = ARKIT_NAMES.index("jawOpen")
    height, width = (sheet.shape[0] - 4) // 13, (sheet.shape[1] - 4) // 4
    top, left = 4 + place // 4 * height, 4 + place % 4 * width
    middles = [sheet[top + height - 4 - 48, left + 96 * step + 48, 0] for step in range(5)]
    np.testing.assert_allclose(middles, np.linspace(0, 0.8 * 255, 5), atol=4)


def test_expressions_that_never_moved_are_left_out_and_named(
    fitted: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = PaintedAvatar.__init__

    def stiff(self: PaintedAvatar, name: str = "painted") -> None:
        made(self, name)
        self.expression_range[1][3:] = 0

    monkeypatch.setattr(PaintedAvatar, "__init__", stiff)
    summary = run(fitted, RenderSettings(mode="sweep"), RunContext())
    assert summary["pictures"] == 3 * 9
    assert "tongueOut" in summary["notes"][-1] and ARKIT_NAMES[0] not in summary["notes"][-1]


def test_a_turn_shows_the_expression_that_was_asked_for(fitted: Workspace) -> None:
    summary = run(fitted, RenderSettings(mode="swing", expression="jawOpen=0.5,eyeBlinkLeft=0.9"), RunContext())
    _, frames = read_video(fitted.path("renders/painted-swing.mp4"))
    assert len(frames) == 100
    middle = frames[:, SIZE // 2 - 4 : SIZE // 2 + 4, SIZE // 2 - 4 : SIZE // 2 + 4].reshape(100, -1, 3).mean(1)
    np.testing.assert_allclose(middle[:, :2], np.tile([0.5 * 255, 0.8 * 255], (100, 1)), atol=12)
    assert middle[:, 2].max() - middle[:, 2].min() > 0.3 * 255  # its blue is the yaw: ±15 degrees
    assert any("eyeBlinkLeft=0.9" in note and "0.80" in note for note in summary["notes"])


def test_views_from_our_own_data_set_are_the_clips_own(fitted: Workspace, rng: np.random.Generator) -> None:
    from headavatar.export.settings import ExportSettings
    from headavatar.export.stage import run as export
    from headavatar.workspace import load_clip

    export(fitted, ExportSettings(format="nerfblendshape"), RunContext())
    file = fitted.path("exports/nerfblendshape/transforms.json")
    clip = load_clip(fitted)
    cameras, in_head_space = read_cameras(file)
    assert in_head_space and len(cameras) == len(clip)
    points = rng.uniform(-0.1, 0.1, (8, 3))
    for frame in rng.choice(len(clip), 5, replace=False):
        pose = Shot(clip.params[int(frame)], clip.camera).head_to_world
        wanted = clip.camera.project(points @ pose[:3, :3].T + pose[:3, 3])[0]
        np.testing.assert_allclose(cameras[frame].project(points)[0], wanted, atol=1e-3)
    summary = run(fitted, RenderSettings(mode="views", cameras=str(file), size=48), RunContext())
    assert summary["files"] == ["renders/painted-views.mp4"]
    assert read_video(fitted.path("renders/painted-views.mp4"))[1].shape == (36, 48, 48, 3)


def test_one_camera_gives_one_picture(fitted: Workspace) -> None:
    summary = run(fitted, RenderSettings(mode="views", cameras=str(fitted.path("track/cameras.json"))), RunContext())
    assert summary["files"] == ["renders/painted-views.png"] and summary["pictures"] == 1
    run(fitted, RenderSettings(mode="still"), RunContext())
    np.testing.assert_array_equal(
        read_image(fitted.path("renders/painted-views.png")), read_image(fitted.path("renders/painted-still.png"))
    )


def test_maps_hold_metres_and_say_so(fitted: Workspace) -> None:
    settings = RenderSettings(mode="self", frames="2:6", maps=True, background="green")
    summary = run(fitted, settings, RunContext())
    folder = fitted.path("renders/painted-self-maps")
    about = json.loads((folder / "maps.json").read_text())
    assert "metres" in about["conventions"]["NNNNNN.npz"] and len(about["frames"]) == 4
    assert "renders/painted-self-depth.mp4" in summary["files"]
    assert len(read_video(fitted.path("renders/painted-self-depth.mp4"))[1]) == 4
    from headavatar.workspace import load_clip

    clip = load_clip(fitted)
    for row, frame in zip(about["frames"], range(2, 6), strict=True):
        arrays = np.load(folder / f"{row['number']}.npz")
        inside = arrays["alpha"] > 0
        away = -clip.params.translation[frame, 2]  # the disc stands at the head's origin, the camera looks along -z
        np.testing.assert_allclose(arrays["depth"][inside], away, atol=1e-5)
        assert not arrays["depth"][~inside].any()
        steps = cv2.imread(str(folder / f"{row['number']}-depth.png"), cv2.IMREAD_UNCHANGED)
        assert steps.dtype == np.uint16
        np.testing.assert_allclose(steps * 1e-4, arrays["depth"], atol=6e-5)
        color = cv2.imread(str(folder / f"{row['number']}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(color[..., 3] > 0, inside)
        # what the file says of camera and head finds the disc's middle
        place = np.array(row["world_to_camera"]) @ np.array(row["head_to_world"])[:, 3]
        u, v = (np.array(row["K"]) @ (place[:3] / place[2]))[:2]
        assert inside[int(v), int(u)]
        wanted = color_of(clip.params[frame])[::-1] * 255
        np.testing.assert_allclose(color[int(v), int(u), :3], wanted, atol=1)


def test_the_surface_is_drawn_where_the_field_would_be(fitted: Workspace) -> None:
    for look in ("field", "surface"):
        run(fitted, RenderSettings(mode="still", look=look, maps=True, expression="jawOpen=0.7"), RunContext())
        arrays = np.load(fitted.path("renders/painted-expression-maps/000000.npz"))
        picture = read_image(fitted.path("renders/painted-expression.png")).astype(int)
        if look == "field":
            disc, red, flat = arrays["alpha"] > 0.5, picture[..., 0], arrays["depth"]
    ball = arrays["alpha"] > 0.5
    assert (ball & disc).sum() / (ball | disc).sum() > 0.9
    both = ball & disc & (arrays["alpha"] > 0.999)
    np.testing.assert_allclose(picture[..., 0][both], red[both], atol=2)
    # the ball's nearest point lies its radius before the disc, and looks at the camera
    y, x = np.unravel_index(np.where(ball, arrays["depth"], 9).argmin(), ball.shape)
    assert flat[disc].min() - arrays["depth"][y, x] == pytest.approx(0.09, abs=0.003)
    assert arrays["normal"][y, x, 2] < -0.9


def test_views_beyond_the_poses_of_training_are_said(fitted: Workspace) -> None:
    summary = run(fitted, RenderSettings(mode="swing", orbit_deg=80), RunContext())
    assert any("guesses" in note for note in summary["notes"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": "90:95"}, "0:36"),
        ({"frames": "five"}, "A:B"),
        ({"expression": "jawOpne=1"}, "jawOpen"),
        ({"expression": "jawOpen=7"}, "between 0 and 1"),
        ({"size": 5}, "16"),
        ({"mode": "views"}, "--cameras"),
        ({"avatar": "paintd"}, "painted"),
    ],
)
def test_wrong_settings_say_what_would_be_right(fitted: Workspace, change: dict, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(fitted, RenderSettings(**{"mode": "self", **change}), RunContext())
    assert said in str(caught.value)
