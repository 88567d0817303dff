"""What others tracked comes in as they meant it, whatever their axes, units and joints are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import others_folders
import pytest
import synthetic
import torch

from headavatar.errors import InputError
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.progress import RunContext, SilentReporter
from headavatar.scene import Array, HeadParams
from headavatar.track import imported, stage
from headavatar.track import inputs as reading
from headavatar.track.settings import TrackSettings
from headavatar.workspace import Workspace, load_camera, load_params

SEED = int(np.random.default_rng().integers(2**31))


@pytest.fixture(scope="module")
def clip() -> synthetic.SyntheticClip:
    print(f"seed {SEED}")
    return synthetic.make(24, 128, SEED, noise_px=0.2)


def settings(dialect: str, folder: Path) -> TrackSettings:
    return TrackSettings(
        refine="none", keyframes=16, texture_size=64, texture_frames=2, imported_from=dialect,
        imported_folder=str(folder), **synthetic.EXACT,
    )  # fmt: skip


UNITLESS = ("nerfblendshape",)
"""Folders that do not say their unit of length."""
SIZES, METRES, SHIFT_M = 0.1, 0.06, 0.015
"""A larger head further away looks the same. So an unknown person's size is known to so much without a unit of length,
to so much (three times what the importer believes of another tracker's metre) with one; and to so much the place of a
head's origin. What pictures do tell is how the poses agree but for one scale of the world and one shift of the head."""


def gauge(params: HeadParams, clip: synthetic.SyntheticClip, kept: Array) -> tuple[float, Array]:
    """What a track's metre is in true ones, and where its head's origin lies in the true head, (3,) metres."""
    tensors = torch.from_numpy(clip.params.identity), torch.from_numpy(clip.params.expression[kept])
    middle = synthetic.head().landmark_model().points(*tensors).double().mean((0, 1))
    true, own = (axis_angle_to_matrix_np(r) for r in (clip.params.rotation[kept], params.rotation))
    wanted = (true - own) @ middle.numpy() + clip.params.translation[kept]
    system = np.concatenate([params.translation[..., None], own], 2).reshape(-1, 4)
    found = np.linalg.lstsq(system, wanted.reshape(-1), rcond=None)[0]
    return float(found[0]), found[1:]


def true_points(
    params: HeadParams, camera_of: Workspace, clip: synthetic.SyntheticClip, kept: Array, metre: float, origin: Array
) -> Array:
    """Pixels of the true head's landmarks under a track's poses and camera, if its metre and origin are those."""
    tensors = torch.from_numpy(clip.params.identity), torch.from_numpy(clip.params.expression[kept])
    points = synthetic.head().landmark_model().points(*tensors).double().numpy()
    turned = (points + origin) @ np.swapaxes(axis_angle_to_matrix_np(params.rotation), 1, 2)
    world = turned + metre * params.translation[:, None]
    return load_camera(camera_of).project(world)[0]


@pytest.mark.parametrize("dialect", list(others_folders.WRITERS))
def test_poses_and_camera_are_the_truth(dialect: str, clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    rng = np.random.default_rng(SEED)
    foreign = others_folders.Foreign.random(rng)
    names = others_folders.WRITERS[dialect](tmp_path / "theirs", clip, foreign, rng)
    workspace = others_folders.workspace(tmp_path / "one.avatar", clip, names)
    summary = stage.run(workspace, settings(dialect, tmp_path / "theirs"), RunContext())
    print(dialect, summary)
    kept = np.array([i for i in range(len(clip)) if i != 7 or dialect != "insta"])
    np.testing.assert_array_equal(workspace.read_npz("track/params.npz")["frame_idx"], kept)
    np.testing.assert_allclose(load_camera(workspace).K, clip.camera.K, rtol=1e-5)
    params = load_params(workspace)
    metre, origin = gauge(params, clip, kept)
    print(f"metre {metre:.4f}, origin off by {1e3 * np.linalg.norm(origin):.2f} mm")
    assert abs(metre - 1) < (SIZES if dialect in UNITLESS else METRES) and np.linalg.norm(origin) < SHIFT_M
    pixels = true_points(params, workspace, clip, kept, metre, origin)
    off = np.linalg.norm(pixels - clip.exact[kept][..., :2], axis=-1)
    print(f"{off.mean():.3f} px")
    assert off.mean() < 0.1, off.mean()
    assert summary["landmark_nme"] < 0.02 and "below_gate" not in summary
    assert summary["imported"] == dialect


def change(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    table = json.loads(file.read_text())
    edit(table)
    file.write_text(json.dumps(table))


def other_axes(table: dict[str, Any]) -> None:
    """OpenGL's axes for OpenCV's, or the other way around."""
    for row in table["frames"]:
        row["transform_matrix"] = (np.array(row["transform_matrix"]) @ np.diag([1, -1, -1, 1])).tolist()


def other_way(table: dict[str, Any]) -> None:
    """World to camera for camera to world."""
    for row in table["frames"]:
        row["transform_matrix"] = np.linalg.inv(np.array(row["transform_matrix"])).tolist()


@pytest.mark.parametrize("dialect, edit", [("insta", other_axes), ("insta", other_way), ("vhap", other_axes)])
def test_a_wrong_convention_is_said(
    dialect: str, edit: Callable[[dict[str, Any]], None], clip: synthetic.SyntheticClip, tmp_path: Path
) -> None:
    rng = np.random.default_rng(SEED)
    folder = tmp_path / "theirs"
    names = others_folders.WRITERS[dialect](folder, clip, others_folders.Foreign.random(rng), rng)
    change(folder / "transforms.json", edit)
    workspace = others_folders.workspace(tmp_path / "one.avatar", clip, names)
    head = synthetic.head()
    with torch.no_grad():
        seen = reading.read(workspace, head, 45.0)
        _, verdict = imported.run(
            workspace, head, seen, settings(dialect, folder), SilentReporter(), lambda name, compute: compute()
        )
    print(verdict)
    assert verdict.wrong and all("a convention is wrong" in line for line in verdict.wrong)


def test_other_pictures_than_the_folders_are_refused(clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    rng = np.random.default_rng(SEED)
    others_folders.insta(tmp_path / "theirs", clip, others_folders.Foreign.random(rng), rng)
    workspace = others_folders.workspace(tmp_path / "one.avatar", clip, [f"other{i}.png" for i in range(len(clip))])
    with pytest.raises(InputError, match="other pictures|usable pictures"):
        stage.run(workspace, settings("insta", tmp_path / "theirs"), RunContext())
