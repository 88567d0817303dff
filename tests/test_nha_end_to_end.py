"""neural-head-avatar through every stage that shows an avatar: fit, render, reenact, eval, report, export, Python."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pygltflib
import pytest
import synthetic
import torch
import trimesh
from small_fit import rendered

import headavatar
from headavatar import ops
from headavatar.export import stage as export
from headavatar.export.mesh_avatar import colors_at
from headavatar.export.settings import ExportSettings
from headavatar.fit import stage as fit
from headavatar.fit.settings import FitSettings
from headavatar.methods import get
from headavatar.methods.base import HasMesh
from headavatar.progress import RunContext
from headavatar.reenact import stage as reenact
from headavatar.reenact.settings import ReenactSettings
from headavatar.render import stage as render
from headavatar.render.settings import RenderSettings
from headavatar.report import stage as report
from headavatar.report.settings import ReportSettings
from headavatar.scene import ARKIT_NAMES
from headavatar.workspace import Workspace, load_clip
from headavatar.workspace.records import Record, save_record

TINY = {"geometry_steps": 4, "texture_steps": 12, "joint_steps": 2, "map_size": 32, "perceptual_weight": 0.0}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"seed {seed}")
    folder = tmp_path_factory.mktemp("nha") / "anna.avatar"
    workspace = synthetic.write_workspace(folder, clip=rendered(), tracked=True)
    settings = FitSettings(
        method="neural-head-avatar", name="nha", method_settings=get("neural-head-avatar").resolve("fast", TINY)
    )
    summary = fit.run(workspace, settings, RunContext(seed=seed))
    assert summary["steps"] == 18
    save_record(workspace, Record("fit", "nha", 1, "f", {"method": settings.method}, summary=summary, seconds=1.0))
    return workspace


def test_it_is_drawn_and_driven(fitted: Workspace) -> None:
    settings = RenderSettings(mode="self", frames="0:2", expression="jawOpen=0.6", maps=True)
    seen = render.run(fitted, settings, RunContext())
    assert (seen["method"], seen["pictures"]) == ("neural-head-avatar", 3)
    assert {"renders/nha-self.mp4", "renders/nha-expression.png"} < set(seen["files"])
    driven = reenact.run(fitted, ReenactSettings(src=str(fitted.root), frames="0:2"), RunContext())
    assert driven["frames"] == 2


def test_its_meshes_are_what_it_draws(fitted: Workspace) -> None:
    avatar = headavatar.open(fitted.root, device="cpu").avatar("nha")
    assert isinstance(avatar.avatar, HasMesh)
    data = export.run(fitted, ExportSettings(format="glb", avatar="nha"), RunContext())
    assert data["vertices"] > 15000 and data["targets"] == 52 and data["bytes"] < 12e6
    file = pygltflib.GLTF2().load(str(fitted.path("exports/glb/nha.glb")))
    assert file.meshes[0].extras["targetNames"] == list(ARKIT_NAMES) and file.textures
    clip = load_clip(fitted)
    frame = int(np.random.default_rng().integers(len(clip)))
    export.run(fitted, ExportSettings(format="obj", avatar="nha", frames=f"{frame}:{frame + 1}"), RunContext())
    about = json.loads(fitted.path("exports/obj/mesh.json").read_text())
    mesh = trimesh.load(fitted.path("exports/obj", about["meshes"][0]["file"]), process=False)
    assert np.asarray(mesh.visual.material.image).std() > 1
    pixels, depth = clip.camera.project(np.asarray(mesh.vertices) + about["rest_translation_m"])
    placed = torch.from_numpy(np.concatenate([pixels, depth[:, None]], 1).astype(np.float32))
    faces = torch.from_numpy(np.asarray(mesh.faces))
    seen = ops.rasterize(placed, faces, clip.camera.height, clip.camera.width)
    mask, drawn = seen.mask.numpy(), avatar.render(frame=frame)
    assert (mask & (drawn.alpha > 0.5)).sum() / (mask | (drawn.alpha > 0.5)).sum() > 0.97
    inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3))) > 0
    uvs = ops.interpolate(torch.from_numpy(np.asarray(mesh.visual.uv, np.float32)), faces, seen)[
        torch.from_numpy(inside)
    ]
    colors = colors_at(np.asarray(mesh.visual.material.image), uvs.numpy()) / 255
    assert np.abs(colors - drawn.rgb[inside]).mean() < 0.02
    open_mouth = avatar.render({"jawOpen": float(avatar.handles.high[ARKIT_NAMES.index("jawOpen")])})
    assert np.abs(open_mouth.rgb - avatar.render({"jawOpen": 0.0}).rgb).max() > 0.02


def test_the_report_shows_it(fitted: Workspace) -> None:
    page = report.run(fitted, ReportSettings(), RunContext())
    assert "neural-head-avatar" in fitted.path(page["files"][0]).read_text()
