"""The authors' data set and weights come in, and go out, as they were: by the stages, as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import others_folders
import pytest
import released_weights as theirs
import synthetic
import torch

from headavatar.dialects import layouts
from headavatar.errors import InputError, UsageError
from headavatar.export.settings import ExportSettings
from headavatar.export.stage import run as export
from headavatar.fit.settings import FitSettings
from headavatar.fit.stage import run as fit
from headavatar.methods.registry import load_avatar
from headavatar.progress import RunContext
from headavatar.scene import Array
from headavatar.track import stage
from headavatar.track.settings import TrackSettings
from headavatar.workspace import Workspace, load_camera, load_clip, load_params

SEED = int(np.random.default_rng().integers(2**31))
COEFFICIENTS = 3


@pytest.fixture(scope="module")
def clip() -> synthetic.SyntheticClip:
    print(f"seed {SEED}")
    return synthetic.make(20, 96, SEED, noise_px=0.2)


def data_set(folder: Path, clip: synthetic.SyntheticClip) -> list[str]:
    """Their data set with few coefficients, so that weights are small; returns the pictures' names."""
    rng = np.random.default_rng(SEED)
    names = others_folders.nerfblendshape(folder, clip, others_folders.Foreign.random(rng), rng)
    table = json.loads((folder / "transforms.json").read_text())
    for row in table["frames"]:
        row["exp_ori"] = (2.5 * np.array(row["exp_ori"][3 : 3 + COEFFICIENTS])).tolist()
    (folder / "transforms.json").write_text(json.dumps(table))
    return names


def tracked(root: Path, folder: Path, clip: synthetic.SyntheticClip, names: list[str]) -> Workspace:
    workspace = others_folders.workspace(root, clip, names)
    settings = TrackSettings(
        refine="none", keyframes=12, texture_size=64, texture_frames=2, imported_from="nerfblendshape",
        imported_folder=str(folder), **synthetic.EXACT,
    )  # fmt: skip
    stage.run(workspace, settings, RunContext())
    return workspace


def bring(workspace: Workspace, weights: Path, name: str) -> Any:
    settings = FitSettings(name=name, split="recorded", released="nerfblendshape", weights=str(weights))
    summary = fit(workspace, settings, RunContext())
    assert summary["steps"] == 0 and summary["holdout_psnr"] > 0
    return load_avatar(workspace.path("avatars", name))


def pose(row: dict[str, Any]) -> Array:
    return np.array(row["transform_matrix"])


def test_data_set_and_weights_in_and_out(clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    names = data_set(folder, clip)
    workspace = tracked(tmp_path / "one.avatar", folder, clip, names)
    loaded = load_clip(workspace, "recorded")
    assert loaded.split.holdout.tolist() == [16, 17, 18, 19] and loaded.params.recorded is not None
    original = {row["img_id"]: row for row in json.loads((folder / "transforms.json").read_text())["frames"]}
    np.testing.assert_allclose(loaded.params.recorded[7], original[7]["exp_ori"], atol=1e-6)

    frame, size = 7, 16
    checkpoint = theirs.random(COEFFICIENTS, SEED, fade=0.6)
    checkpoint["model"]["density_grid"] = theirs.ball(pose(original[frame]))
    torch.save(checkpoint, tmp_path / "id1.pth.tar")
    avatar = bring(workspace, tmp_path / "id1.pth.tar", "hers")
    camera = load_camera(workspace).scaled(size, size)
    seen = avatar.render(loaded.params[frame], camera)
    table, share = json.loads((folder / "transforms.json").read_text()), size / 96
    fx, fy = table["fx"] * share, table["fy"] * share
    cx, cy = (table["cx"] + 0.5) * share - 0.5, (table["cy"] + 0.5) * share - 0.5
    trained = np.array([row["exp_ori"] for i, row in original.items() if i < 16])
    weights = np.clip(original[frame]["exp_ori"], trained.min(0), trained.max(0))
    expected, alpha = theirs.picture(checkpoint, weights, pose(original[frame]), (fx, fy, cx, cy), size, 200)
    off = np.abs(seen.rgb - expected).max(-1)
    print(f"alpha up to {alpha.max():.2f}, off by {off.mean():.4f}")
    assert alpha.max() > 0.5 and off.mean() < 0.02, "by its own poses and ranges"

    export(workspace, ExportSettings(format="nerfblendshape", avatar="hers"), RunContext())
    written = workspace.path("exports/nerfblendshape")
    rows = json.loads((written / "transforms.json").read_text())["frames"]
    assert len(rows) == len(clip)
    for row in rows:
        np.testing.assert_allclose(pose(row), pose(original[row["frame"]]), atol=2e-4)
        np.testing.assert_allclose(row["exp_ori"], original[row["frame"]]["exp_ori"], atol=1e-5)
    again = bring(workspace, written / "hers.pth.tar", "again")
    np.testing.assert_allclose(again.render(loaded.params[frame], camera).rgb, seen.rgb, atol=2e-3)


def test_our_own_export_comes_back_as_it_was(clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    workspace = synthetic.write_workspace(tmp_path / "ours.avatar", clip=clip, tracked=True)
    export(workspace, ExportSettings(format="nerfblendshape"), RunContext())
    folder = workspace.path("exports/nerfblendshape")
    found = layouts.read("nerfblendshape", folder)
    assert len(found) == len(found.masks) == len(found.points) == len(clip) and found.mask_colors == "parsing"
    assert found.coefficients is not None and len(found.coefficients.names) == 46
    np.testing.assert_allclose(found.camera.K, clip.camera.K, rtol=1e-9)
    back = tracked(tmp_path / "back.avatar", folder, clip, [path.name for path in found.pictures])
    params, truth = load_params(back), load_params(workspace)
    assert params.recorded is None, "they are ARKit's, so they are used as such"
    np.testing.assert_allclose(params.expression, truth.expression, atol=1e-5)
    np.testing.assert_allclose(params.rotation, truth.rotation, atol=1e-5)
    np.testing.assert_allclose(params.translation, truth.translation, atol=1e-5)


def test_weights_need_their_data_set(clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    workspace = synthetic.write_workspace(tmp_path / "plain.avatar", clip=clip, tracked=True)
    torch.save(theirs.random(COEFFICIENTS, SEED), tmp_path / "id1.pth.tar")
    settings = FitSettings(name="hers", released="nerfblendshape", weights=str(tmp_path / "id1.pth.tar"))
    with pytest.raises(InputError, match="what these weights were trained on"):
        fit(workspace, settings, RunContext())
    with pytest.raises(UsageError, match="No folder says"):
        load_clip(workspace, "recorded")
