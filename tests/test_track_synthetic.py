"""Track on a head whose truth is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import synthetic
import torch

from headavatar.errors import InputError
from headavatar.head.rotations import axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.progress import RunContext, SilentReporter
from headavatar.scene import ARKIT_NAMES, Array, HeadParams
from headavatar.track import stage
from headavatar.track.gauss_newton import solve_frames
from headavatar.track.inputs import training_frames
from headavatar.track.settings import TrackSettings
from headavatar.workspace import Workspace, atomic, layout, load_camera, load_clip, load_params

SETTINGS = TrackSettings(
    refine="fast", keyframes=24, surfels=1500, texture_size=128, texture_frames=8, **synthetic.EXACT
)
MOVED = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "eyeBlinkLeft", "eyeBlinkRight")


@pytest.fixture(scope="module")
def clip() -> synthetic.SyntheticClip:
    seed = int(np.random.SeedSequence().entropy) % 2**31  # type: ignore[arg-type]
    print(f"seed {seed}")
    return synthetic.make(36, 160, seed)


@pytest.fixture(scope="module")
def tracked(clip: synthetic.SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict]:
    workspace = synthetic.write_workspace(tmp_path_factory.mktemp("track") / "one.avatar", clip=clip)
    return workspace, stage.run(workspace, SETTINGS, RunContext())


def turn_between(a: Array, b: Array) -> Array:
    """(T,) degrees between axis-angle rotations."""
    relative = axis_angle_to_matrix_np(a) @ np.swapaxes(axis_angle_to_matrix_np(b), 1, 2)
    return np.degrees(np.linalg.norm(matrix_to_axis_angle_np(relative), axis=1))


def shaken(a: Array, b: Array) -> float:
    """Root mean square degrees by which rotations differ, what they share aside: the rest frame's own tilt is free."""
    relative = matrix_to_axis_angle_np(np.swapaxes(axis_angle_to_matrix_np(b), 1, 2) @ axis_angle_to_matrix_np(a))
    return float(np.degrees(np.sqrt(((relative - relative.mean(0)) ** 2).sum(1).mean())))


def test_pose_and_expression_are_found(tracked: tuple[Workspace, dict], clip: synthetic.SyntheticClip) -> None:
    params, truth = load_params(tracked[0]), clip.params
    assert turn_between(params.rotation, truth.rotation).mean() < 1.5
    focal = load_camera(tracked[0]).K[0, 0]
    scale = clip.camera.K[0, 0] / focal  # depth and focal length cannot be told apart
    assert np.abs(params.translation * [1, 1, scale] - truth.translation).mean() < 0.01
    for name in MOVED:
        k = ARKIT_NAMES.index(name)
        assert np.corrcoef(params.expression[:, k], truth.expression[:, k])[0, 1] > 0.8, name
    assert params.expression.min() >= 0 and params.expression.max() <= 1


def test_identity_is_found(tracked: tuple[Workspace, dict], clip: synthetic.SyntheticClip) -> None:
    model = synthetic.head()
    face = model.regions["face"]
    rest = torch.zeros(1, len(ARKIT_NAMES))
    with torch.no_grad():
        found, true, mean = (
            model.vertices(torch.as_tensor(identity, dtype=torch.float32), rest)[0][face].double().numpy()
            for identity in (load_params(tracked[0]).identity, clip.params.identity, np.zeros(model.identity_size))
        )

    def error(points: Array) -> float:
        """Mean distance in millimetres after the best similarity."""
        a, b = points - points.mean(0), true - true.mean(0)
        u, s, vh = np.linalg.svd(a.T @ b)
        return float(np.linalg.norm(a @ (u @ vh) * (s.sum() / (a * a).sum()) - b, axis=1).mean() * 1000)

    assert error(found) < 2.0
    assert error(found) < 0.8 * error(mean)


def test_the_picture_sharpens_the_pose(tmp_path: Path) -> None:
    shake = {"none": 0.0, "fast": 0.0}
    for seed in np.random.default_rng().integers(2**31, size=2).tolist():  # one clip alone may happen to drift little
        print(f"seed {seed}")
        clip = synthetic.make(30, 160, seed, drift_px=0.8)
        for refine in shake:
            workspace = synthetic.write_workspace(tmp_path / f"{refine}{seed}.avatar", clip=clip)
            settings = TrackSettings(
                refine=refine, keyframes=24, surfels=1500, texture_size=64, texture_frames=4, **synthetic.EXACT
            )
            stage.run(workspace, settings, RunContext())
            shake[refine] += shaken(load_params(workspace).rotation, clip.params.rotation)
    print(shake)
    assert shake["fast"] < 0.8 * shake["none"]


def test_blocks_that_rounding_made_indefinite_are_solved_and_contradictions_said(rng: np.random.Generator) -> None:
    roots = torch.from_numpy(rng.normal(size=(12, 6, 3)))
    flat = roots @ roots.transpose(1, 2) - 1e-7 * torch.eye(6)
    bands, gradient = torch.zeros(12, 3, 6), torch.from_numpy(rng.normal(size=(12, 6)))
    assert torch.isfinite(solve_frames(flat, bands, gradient)).all()
    with pytest.raises(InputError, match="cannot be solved"):
        solve_frames(-torch.eye(6).repeat(12, 1, 1), bands, gradient)


def test_summary_and_files(tracked: tuple[Workspace, dict], clip: synthetic.SyntheticClip) -> None:
    workspace, summary = tracked
    assert summary["frames"] == summary["usable"] == len(clip)
    assert summary["landmark_nme"] < 0.03 and summary["silhouette_iou"] > 0.85 and summary["fps"] > 0
    loaded = load_clip(workspace)
    assert isinstance(loaded.params, HeadParams) and len(loaded) == len(clip)
    quality = workspace.read_json(layout.QUALITY)
    assert len(quality["frames"]) == len(clip) and all(row["usable"] for row in quality["frames"])
    video = cv2.VideoCapture(str(workspace.path("track/overlay.mp4")))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == len(clip)
    model = synthetic.head()
    text = workspace.path("track/canonical.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in text) == model.vertex_count
    assert sum(line.startswith("f ") for line in text) == len(model.quads)


def test_projected_mesh_covers_the_head(tracked: tuple[Workspace, dict], clip: synthetic.SyntheticClip) -> None:
    """The files alone, read by the conventions they state, put the landmarks where the network saw them."""
    params, camera = load_params(tracked[0]), load_camera(tracked[0])
    offset = tracked[0].read_npz(layout.PARAMS)["landmark_offset"]
    tensors = (torch.from_numpy(a) for a in (params.identity, params.expression))
    points = synthetic.head().landmark_model().points(*tensors).numpy() + offset
    world = np.einsum("tij,tlj->tli", axis_angle_to_matrix_np(params.rotation), points) + params.translation[:, None]
    pixels, _ = camera.project(world)
    assert np.linalg.norm(pixels - clip.exact[..., :2], axis=-1).mean() < 1.0


def test_holdout_leaves_identity_and_texture_alone(
    tracked: tuple[Workspace, dict], clip: synthetic.SyntheticClip, tmp_path: Path
) -> None:
    held = np.flatnonzero(~training_frames(clip.times_s))
    assert len(held)
    other = synthetic.write_workspace(tmp_path / "two.avatar", clip=clip)
    points = other.read_npz(layout.LANDMARKS)
    points["landmarks"][held, :, :2] += np.random.default_rng().normal(0, 0.8, (len(held), 478, 2)).astype(np.float32)
    other.write_npz(layout.LANDMARKS, **points)
    for i in held:
        other.write_image(f"{layout.FRAMES}/{layout.frame_name(int(i))}", clip.images[i] // 2)
    settings = TrackSettings(refine="none", keyframes=24, texture_size=64, texture_frames=6, **synthetic.EXACT)
    stage.run(other, settings, RunContext())
    same = synthetic.write_workspace(tmp_path / "three.avatar", clip=clip)
    stage.run(same, settings, RunContext())
    a, b = (w.read_npz(layout.PARAMS) for w in (other, same))
    assert np.array_equal(a["shape"], b["shape"]) and np.array_equal(a["landmark_offset"], b["landmark_offset"])
    both = np.intersect1d(np.intersect1d(a["frame_idx"], b["frame_idx"]), held)  # a frame may have failed in either
    assert len(both)
    turned = (w["rotation"][np.searchsorted(w["frame_idx"], both)] for w in (a, b))
    assert not np.array_equal(*turned)


class Killed(Exception):
    """Stands for a SIGKILL."""


def test_resume_ends_the_same(
    tracked: tuple[Workspace, dict], clip: synthetic.SyntheticClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = synthetic.write_workspace(tmp_path / "killed.avatar", clip=clip)
    write, budget = atomic.write_npz, [0]

    def dies(path: Path, arrays: dict, *rest: object) -> Path:
        if budget[0] == 0:
            raise Killed
        budget[0] -= 1
        return write(path, arrays, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(atomic, "write_npz", dies)
    for allowed in (0, 2):  # before anything is kept, and after landmarks and one round
        budget[0] = allowed
        with pytest.raises(Killed):
            stage.run(workspace, SETTINGS, RunContext())
        assert not workspace.path(layout.PARAMS).exists()
    monkeypatch.setattr(atomic, "write_npz", write)
    stage.run(workspace, SETTINGS, RunContext(SilentReporter()))
    for name in (layout.PARAMS, layout.CAMERAS, "track/texture.png", "track/canonical.obj"):
        assert workspace.path(name).read_bytes() == tracked[0].path(name).read_bytes(), name


def test_normals_are_the_fitted_heads(tracked: tuple[Workspace, dict], clip: synthetic.SyntheticClip) -> None:
    workspace = tracked[0]
    normals = load_clip(workspace).normals
    assert normals is not None and len(normals) == len(clip)
    names = sorted(file.name for file in workspace.path(layout.HEAD_NORMALS).iterdir())
    assert names == [layout.frame_name(i) for i in range(len(clip))]
    turns = []
    for found, true in zip(normals, clip.normals, strict=True):
        both = (found > 0).any(-1) & (true > 0).any(-1)
        kernel = np.ones((5, 5), np.uint8)
        both &= cv2.erode(both.astype(np.uint8), kernel) > 0
        assert both.mean() > 0.1
        a, b = (picture[both].astype(np.float64) / 127.5 - 1 for picture in (found, true))
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        turns.append(np.degrees(np.arccos(cosine.clip(-1, 1))))
    assert np.median(np.concatenate(turns)) < 8
