"""MP4, OBJ and the NeRFBlendShape folder."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch
import trimesh
from small_workspace import SIZE, PaintedAvatar, install_painted_method, write_small_workspace

from headavatar.errors import UsageError, WorkspaceError
from headavatar.export import surface
from headavatar.export.nerf_dataset import NAMES_46
from headavatar.export.settings import STAGE, ExportSettings
from headavatar.export.stage import run
from headavatar.head import load
from headavatar.progress import RunContext
from headavatar.render.avatars import Opened
from headavatar.scene import ARKIT_NAMES
from headavatar.workspace import Workspace, load_clip


@pytest.fixture
def fitted(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    install_painted_method(monkeypatch)
    return write_small_workspace(tmp_path / "anna.avatar", rng)


def test_mp4_shows_the_avatar_alone(fitted: Workspace) -> None:
    summary = run(fitted, ExportSettings(format="mp4", size=80), RunContext())
    reader = imageio_ffmpeg.read_frames(str(fitted.path(summary["files"][0])))
    assert next(reader)["size"] == (80, 80)
    assert len(list(reader)) == 36


def test_only_the_mp4_needs_an_avatar(tmp_path: Path, rng: np.random.Generator) -> None:
    workspace = write_small_workspace(tmp_path / "anna.avatar", rng)
    workspace.path("avatars/painted/avatar.json").unlink()
    run(workspace, ExportSettings(format="obj"), RunContext())
    with pytest.raises(WorkspaceError, match="fit"):
        run(workspace, ExportSettings(format="mp4"), RunContext())
    assert STAGE.all_upstream(ExportSettings(format="mp4")) == ("track", "fit")
    assert STAGE.all_upstream(ExportSettings(format="glb")) == ("track",)


def test_obj_is_the_person_at_rest(fitted: Workspace) -> None:
    run(fitted, ExportSettings(format="obj"), RunContext())
    mesh = trimesh.load(fitted.path("exports/obj/head.obj"), process=False)
    head, clip = load(), load_clip(fitted)
    rest = head.vertices(torch.as_tensor(clip.params.identity), torch.zeros(1, 52))[0].numpy()
    corners = mesh.vertices[mesh.faces.reshape(-1)]
    np.testing.assert_allclose(corners, rest[head.faces.numpy().reshape(-1)], atol=2e-6)
    assert mesh.visual.material.image.size == (128, 128)


@pytest.mark.parametrize("kind", ["ply", "obj"])
def test_an_avatars_own_surface_keeps_its_place_and_colors(
    fitted: Workspace, kind: str, rng: np.random.Generator
) -> None:
    jaw, lid = round(float(rng.uniform(0.1, 0.7)), 2), round(float(rng.uniform(0.1, 0.7)), 2)
    settings = ExportSettings(format=kind, mesh="avatar", expression=f"jawOpen={jaw},eyeBlinkLeft={lid}")
    summary = run(fitted, settings, RunContext())
    mesh = trimesh.load(fitted.path(f"exports/{kind}/head.{kind}"), process=False)
    assert summary["vertices"] == len(mesh.vertices) and summary["triangles"] == len(mesh.faces)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.09, atol=1e-5)
    assert mesh.volume > 0  # its faces look outward
    np.testing.assert_allclose(
        mesh.visual.vertex_colors[:, :2], np.tile([jaw * 255, lid * 255], (len(mesh.vertices), 1)), atol=1
    )
    about = json.loads(fitted.path(f"exports/{kind}/mesh.json").read_text())
    assert about["unit"] == "metre" and about["meshes"][0]["expression"] == {"jawOpen": jaw, "eyeBlinkLeft": lid}


def test_every_expression_has_its_mesh(fitted: Workspace) -> None:
    summary = run(fitted, ExportSettings(format="ply", all_expressions=True), RunContext())
    assert summary["meshes"] == 53
    rest = trimesh.load(fitted.path("exports/ply/head.ply"), process=False).visual.vertex_colors[0]
    wide = trimesh.load(fitted.path("exports/ply/jawOpen.ply"), process=False).visual.vertex_colors[0]
    assert wide[0] == pytest.approx(0.8 * 255, abs=1) and wide[0] > rest[0]  # to the most that training showed
    assert wide[1] == rest[1]


def test_the_tracked_heads_obj_takes_an_expression(fitted: Workspace, rng: np.random.Generator) -> None:
    index, value = int(rng.integers(52)), round(float(rng.uniform(0.2, 1)), 3)
    run(fitted, ExportSettings(format="obj", expression=f"{ARKIT_NAMES[index]}={value}"), RunContext())
    mesh = trimesh.load(fitted.path("exports/obj/head.obj"), process=False)
    head, face = load(), torch.zeros(1, 52)
    face[0, index] = value
    wanted = head.vertices(torch.as_tensor(load_clip(fitted).params.identity), face)[0].numpy()
    corners = mesh.vertices[mesh.faces.reshape(-1)]
    np.testing.assert_allclose(corners, wanted[head.faces.numpy().reshape(-1)], atol=2e-6)
    run(fitted, ExportSettings(format="ply", mesh="head"), RunContext())
    assert len(trimesh.load(fitted.path("exports/ply/head.ply"), process=False).vertices) == len(wanted)


def test_meshes_that_cannot_be_say_why(fitted: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="0.1 mm"):
        run(fitted, ExportSettings(format="ply", voxel_mm=0.1), RunContext())
    with pytest.raises(UsageError, match="jawOpn"):
        run(fitted, ExportSettings(format="ply", expression="jawOpn=1"), RunContext())
    flat = SimpleNamespace(method="flat", expression_range=PaintedAvatar().expression_range)
    monkeypatch.setattr(surface, "open_avatar", lambda *_: Opened("flat", flat, "blocks", False))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no surface") as caught:
        run(fitted, ExportSettings(format="ply"), RunContext())
    assert "--mesh head" in caught.value.fix
    assert STAGE.all_upstream(ExportSettings(format="ply")) == ("track", "fit")
    assert STAGE.all_upstream(ExportSettings(format="ply", mesh="head")) == ("track",)


@pytest.fixture
def dataset(fitted: Workspace) -> tuple[Workspace, Path, dict]:
    run(fitted, ExportSettings(format="nerfblendshape"), RunContext())
    folder = fitted.path("exports/nerfblendshape")
    return fitted, folder, json.loads((folder / "transforms.json").read_text())


def test_poses_project_the_head_where_the_camera_sees_it(
    dataset: tuple[Workspace, Path, dict], rng: np.random.Generator
) -> None:
    workspace, _, about = dataset
    clip, head = load_clip(workspace), load()
    identity = torch.as_tensor(clip.params.identity)
    for row in about["frames"]:
        frame = row["img_id"]
        params = clip.params[frame]
        # our way: head space → world → pixels
        turn = torch.as_tensor(params.rotation), torch.as_tensor(params.translation)
        posed = head.posed(identity, torch.zeros(1, 52), *turn)[0].numpy()
        rest = head.vertices(identity, torch.zeros(1, 52))[0].numpy()
        corner = int(rng.integers(len(rest)))
        ours, _ = clip.camera.project(posed[corner])
        # its reader's way: fixed head, OpenGL camera
        fixed = (rest[corner] - about["center_m"]) * about["scale"]
        local = np.linalg.inv(np.array(row["transform_matrix"])) @ [*fixed, 1]
        theirs = [
            about["cx"] + about["fx"] * local[0] / -local[2], about["cy"] - about["fy"] * local[1] / -local[2],
        ]  # fmt: skip
        np.testing.assert_allclose(theirs, ours - 0.5, atol=1e-3)  # its pixels' centers are whole numbers
        # and back: the ray through that pixel passes the point
        matrix = np.array(row["transform_matrix"])
        ray = matrix[:3, :3] @ [(theirs[0] - about["cx"]) / about["fx"], -(theirs[1] - about["cy"]) / about["fy"], -1]
        away = np.linalg.norm(np.cross(fixed - matrix[:3, 3], ray)) / np.linalg.norm(ray)
        assert away < 1e-5


def test_the_head_fits_the_readers_box(dataset: tuple[Workspace, Path, dict]) -> None:
    workspace, _, about = dataset
    rest = load().vertices(torch.as_tensor(load_clip(workspace).params.identity), torch.zeros(1, 52))[0].numpy()
    box = (rest - about["center_m"]) * about["scale"] * 0.33
    assert 0.03 < np.abs(box).max() <= 0.06 + 1e-6


def test_pictures_points_and_coefficients(dataset: tuple[Workspace, Path, dict]) -> None:
    workspace, folder, about = dataset
    clip = load_clip(workspace)
    assert (about["w"], about["h"], len(about["frames"])) == (SIZE, SIZE, 36)
    assert len(NAMES_46) == 46 and set(NAMES_46) < set(ARKIT_NAMES) and about["exp_names"] == list(NAMES_46)
    row = about["frames"][7]
    wanted = [clip.params.expression[7, ARKIT_NAMES.index(name)] for name in NAMES_46]
    np.testing.assert_allclose(row["exp_ori"], wanted, atol=1e-6)
    np.testing.assert_allclose(np.loadtxt(folder / "ori_imgs/7.lms"), clip.landmarks[7, :, :2], atol=1e-3)
    parsing = cv2.imread(str(folder / "parsing/7.png"))[..., ::-1]
    codes = {tuple(color) for color in parsing.reshape(-1, 3).tolist()}
    assert codes == {(0, 0, 255), (255, 0, 0), (255, 255, 255)}
    head = (parsing == [0, 0, 255]).all(axis=2)
    np.testing.assert_array_equal(head, clip.mattes[7] > 127)
    plate, shown = cv2.imread(str(folder / "bc.jpg")), cv2.imread(str(folder / "head_imgs/7.jpg"))
    assert plate.shape == shown.shape == (SIZE, SIZE, 3)
    outside = ~cv2.dilate(head.astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert np.abs(plate[outside].astype(int) - shown[outside]).mean() < 3
    seen = np.array([about["frames"][i]["exp_ori"] for i in range(36) if i not in set(clip.split.holdout.tolist())])
    np.testing.assert_allclose(np.loadtxt(folder / "max_46.txt"), seen.max(axis=0), atol=1e-5)
    np.testing.assert_allclose(np.loadtxt(folder / "min_46.txt"), seen.min(axis=0), atol=1e-5)
    assert "metres" in (folder / "README.txt").read_text()
