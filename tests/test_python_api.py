"""headavatar.open: avatars of every method, drawn from Python."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from mesh_avatar import workspace_with_mesh
from small_fit import clip_of, rendered, trainer_of
from small_workspace import SIZE, color_of

import headavatar
from headavatar.errors import HeadAvatarError, UsageError, WorkspaceError
from headavatar.render.cameras import around
from headavatar.render.neutral import rest_of
from headavatar.scene import ARKIT_NAMES
from headavatar.workspace import Workspace, load_camera, load_params


@pytest.fixture
def anna(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return workspace_with_mesh(tmp_path / "anna.avatar", rng, monkeypatch)


def test_importing_headavatar_costs_nothing() -> None:
    code = "import sys, headavatar; print({'torch', 'cv2', 'scipy', 'numpy'} & set(sys.modules)); headavatar.open"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


def test_what_is_not_said_is_the_person_at_rest_before_the_clips_camera(anna: Workspace) -> None:
    opened = headavatar.open(anna.root, device="cpu")
    assert opened.avatars == ["painted", "plaster"]
    avatar = opened.avatar("plaster")
    assert (avatar.name, avatar.method) == ("plaster", "plaster")
    expected = avatar.avatar.render(rest_of(load_params(anna)), load_camera(anna))
    got = avatar.render()
    np.testing.assert_array_equal(got.rgb, expected.rgb)
    assert got.rgb.shape == (SIZE, SIZE, 3) and 0 < got.alpha.mean() < 1


def test_face_pose_camera_size_and_background_are_as_told(anna: Workspace, rng: np.random.Generator) -> None:
    avatar = headavatar.open(str(anna.root)).avatar("painted")
    jaw, blink, yaw = rng.uniform(0.1, 0.7, 2).tolist() + [float(rng.uniform(-0.3, 0.3))]
    some = avatar.render({"jawOpen": jaw, "eyeBlinkLeft": blink}, rotation=[0, yaw, 0], size=48, background="black")
    assert some.rgb.shape == (48, 48, 3) and not some.rgb[some.alpha == 0].any()
    seen = some.rgb[some.alpha == 1].reshape(-1, 3)
    np.testing.assert_allclose(seen, np.tile([jaw, blink, 0.5 + yaw], (len(seen), 1)), atol=1e-6)
    face = np.zeros(52)
    face[[ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("eyeBlinkLeft")]] = jaw, blink
    every = avatar.render(face, rotation=np.array([0, yaw, 0]), background=(0.2, 0.4, 0.6))
    np.testing.assert_allclose(every.rgb[every.alpha == 1][0], seen[0], atol=1e-6)
    np.testing.assert_allclose(every.rgb[every.alpha == 0][0], [0.2, 0.4, 0.6], atol=1e-6)
    moved = avatar.render(camera=around(avatar.camera, np.array([0.0, 0.0, 0.0]), 0.3))
    assert np.abs(moved.alpha - every.alpha).sum() > 5
    frame = int(rng.integers(len(avatar.tracked)))
    np.testing.assert_allclose(
        avatar.render(frame=frame).rgb.min((0, 1)), np.minimum(color_of(avatar.tracked[frame]), 1), atol=1e-6
    )


def test_what_cannot_be_is_said_as_on_the_command_line(anna: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="not a workspace"):
        headavatar.open(tmp_path / "nobody")
    with pytest.raises(UsageError, match="no device 'tpu'"):
        headavatar.open(anna.root, device="tpu")
    opened = headavatar.open(anna.root)
    with pytest.raises(UsageError, match="Which avatar"):
        opened.avatar()
    with pytest.raises(UsageError, match="no avatar called") as caught:
        opened.avatar("paintd")
    assert "painted" in caught.value.fix
    avatar = opened.avatar("painted")
    with pytest.raises(UsageError, match="jawOpn") as caught:
        avatar.render({"jawOpn": 0.5})
    assert "jawOpen" in caught.value.fix
    wrong = [
        {"expression": {"jawOpen": 1.5}}, {"expression": {"jawOpen": "wide"}}, {"expression": np.zeros(51)},
        {"expression": np.full(52, np.nan)},
        {"rotation": [0, 1]}, {"eyes": [0, 1, 2]}, {"frame": 36}, {"size": 5}, {"background": "mauve"},
        {"background": (1, 2)},
    ]  # fmt: skip
    for values in wrong:
        with pytest.raises(HeadAvatarError) as caught_any:
            avatar.render(**values)
        assert caught_any.value.exit_code == 2 and caught_any.value.why, values
    with pytest.warns(UserWarning, match="outside what training showed"):
        avatar.render({"jawOpen": 0.9})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        avatar.render({"jawOpen": 0.7})


def test_an_avatar_of_nerf_blendshape_is_drawn_the_same_way(tmp_path: Path) -> None:
    clip = clip_of(rendered())
    fitted = trainer_of(clip, steps=3).avatar()
    workspace = Workspace.create(tmp_path / "bob.avatar")
    p = clip.params
    workspace.write_npz(
        "track/params.npz", shape=p.identity, expr=p.expression, rotation=p.rotation, translation=p.translation,
        neck_pose=p.neck, jaw_pose=p.jaw, eyes_pose=p.eyes,
    )  # fmt: skip
    camera = clip.camera
    workspace.write_json("track/cameras.json", {
        "K": camera.K, "world_to_camera": camera.world_to_camera, "width": camera.width, "height": camera.height,
    })  # fmt: skip
    with workspace.replace_dir("avatars/nbs") as folder:
        fitted.save(folder)
    workspace.write_json("avatars/nbs/metrics.json", {"split": "blocks", "with_torso": False})
    avatar = headavatar.open(workspace.root, device="cpu").avatar()
    assert avatar.method == "nerf-blendshape" and list(avatar.handles.names) == list(ARKIT_NAMES)
    picture = avatar.render(size=32)
    np.testing.assert_allclose(picture.rgb, fitted.render(rest_of(p), camera.scaled(32, 32)).rgb, atol=2e-3)
