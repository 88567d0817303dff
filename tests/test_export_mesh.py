"""An avatar that is a mesh, given to other programs: GLB, and OBJ and PLY of each frame."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from mesh_avatar import SIDE, PlasterAvatar, workspace_with_mesh
from test_export_glb import accessor

from headavatar.export.settings import STAGE, ExportSettings
from headavatar.export.stage import run
from headavatar.methods.base import HasMesh
from headavatar.progress import RunContext
from headavatar.render.neutral import rest_of
from headavatar.scene import ARKIT_NAMES, Array
from headavatar.workspace import Workspace, load_params


@pytest.fixture
def fitted(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return workspace_with_mesh(tmp_path / "anna.avatar", rng, monkeypatch)


def posed(avatar: PlasterAvatar, **parts: Array) -> Array:
    """Corners (F, 3, 3) of the avatar's triangles."""
    head = avatar.mesh()
    tensors = {key: torch.as_tensor(value, dtype=torch.float32) for key, value in parts.items()}
    expression = tensors.pop("expression", torch.zeros(1, 52))
    call = head.posed if "rotation" in tensors else head.vertices
    return call(torch.as_tensor(avatar.identity), expression, **tensors)[0].numpy()[head.faces.numpy()]


def test_the_glb_is_the_avatars_own_mesh_and_texture(fitted: Workspace) -> None:
    avatar = PlasterAvatar()
    assert isinstance(avatar, HasMesh)
    summary = run(fitted, ExportSettings(format="glb", avatar="plaster"), RunContext())
    file = pygltflib.GLTF2().load(str(fitted.path("exports/glb/plaster.glb")))
    assert summary["avatar"] == file.asset.extras["headavatar"]["avatar"] == "plaster"
    primitive = file.meshes[0].primitives[0]
    corners = accessor(file, primitive.indices)[:, 0]
    places = accessor(file, primitive.attributes.POSITION)[corners].reshape(-1, 3, 3)
    np.testing.assert_allclose(places, posed(avatar), atol=1e-6)
    for name in ("jawOpen", "eyeBlinkLeft", "browInnerUp"):
        i = ARKIT_NAMES.index(name)
        moved = accessor(file, primitive.targets[i]["POSITION"])[corners].reshape(-1, 3, 3)
        np.testing.assert_allclose(places + moved, posed(avatar, expression=np.eye(52)[i : i + 1]), atol=3e-6)
    view = file.bufferViews[file.images[0].bufferView]
    blob = file.binary_blob()
    assert blob is not None
    stored = cv2.imdecode(np.frombuffer(blob, np.uint8)[view.byteOffset :][: view.byteLength], cv2.IMREAD_COLOR)
    params = load_params(fitted)
    rest, jaw = rest_of(params), params.expression[:, ARKIT_NAMES.index("jawOpen")]
    closed, shown = avatar.texture(rest).astype(int), stored[..., ::-1].astype(int)
    np.testing.assert_array_equal(shown[..., :2], closed[..., :2])
    widest = (jaw - params.expression[:, ARKIT_NAMES.index("mouthClose")]).argmax()
    u, v = (
        avatar.mesh().uvs[avatar.mesh().uv_faces[avatar.mesh().regions["teeth"][avatar.mesh().faces].all(1)]].mean(1).T
    )
    teeth = shown[((1 - v) * SIDE).long(), (u * SIDE).long(), 2]
    assert (teeth == round(255 * float(jaw[widest]))).mean() > 0.9, "the mouth is as it looks when open"
    assert (shown[..., 2] == closed[..., 2]).mean() > 0.5
    outputs = {file.nodes[c.target.node].name for c in file.animations[0].channels}
    assert outputs == {"head_mesh", "root", "neck", "jaw", "eye_left", "eye_right"}
    assert "plaster.glb" in fitted.path("exports/glb/README.txt").read_text()


@pytest.mark.parametrize("kind", ["obj", "ply"])
def test_each_frame_is_a_mesh_where_the_head_was_with_the_colors_of_that_frame(fitted: Workspace, kind: str) -> None:
    avatar, params = PlasterAvatar(), load_params(fitted)
    summary = run(fitted, ExportSettings(format=kind, avatar="plaster", frames="16:19"), RunContext())
    assert summary["meshes"] == 3 and summary["avatar"] == "plaster"
    about = json.loads(fitted.path(f"exports/{kind}/mesh.json").read_text())
    assert [row["frame"] for row in about["meshes"]] == [16, 17, 18]
    for row in about["meshes"]:
        p = params[row["frame"]]
        wanted = posed(
            avatar, expression=p.expression, rotation=p.rotation, translation=p.translation, neck=p.neck, jaw=p.jaw,
            eyes=p.eyes,
        )  # fmt: skip
        mesh = trimesh.load(fitted.path(f"exports/{kind}/{row['file']}"), process=False)
        places = mesh.vertices[mesh.faces] + about["rest_translation_m"]
        np.testing.assert_allclose(places, wanted, atol=3e-6)
        uvs = avatar.mesh().uvs.numpy()[avatar.mesh().uv_faces.numpy()]
        jaw = p.expression[0, ARKIT_NAMES.index("jawOpen")]
        if kind == "obj":
            picture = np.asarray(mesh.visual.material.image)
            np.testing.assert_array_equal(picture, avatar.texture(p))
            np.testing.assert_allclose(mesh.visual.uv[mesh.faces], uvs, atol=1e-6)
        else:
            colors = mesh.visual.vertex_colors[mesh.faces][..., :3] / 255
            inside = ((uvs > 1 / SIDE) & (uvs < 1 - 1 / SIDE)).all((1, 2))
            np.testing.assert_allclose(colors[inside][..., :2], uvs[inside], atol=0.01)
            assert np.abs(colors[..., 2] - jaw).max() < 0.003
            assert (mesh.vertex_normals[mesh.faces][:, 0] * mesh.face_normals).sum(1).mean() > 0.8


def test_without_frames_it_is_at_rest_and_each_expression_has_its_texture(fitted: Workspace) -> None:
    avatar = PlasterAvatar()
    settings = ExportSettings(format="obj", avatar="plaster", expression="jawOpen=0.6", all_expressions=True)
    assert run(fitted, settings, RunContext())["meshes"] == 53
    both = np.zeros((1, 52))
    both[0, [ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("mouthPucker")]] = 0.6, 1
    mesh = trimesh.load(fitted.path("exports/obj/mouthPucker.obj"), process=False)
    np.testing.assert_allclose(mesh.vertices[mesh.faces], posed(avatar, expression=both), atol=3e-6)
    assert np.asarray(mesh.visual.material.image)[0, 0, 2] == 153
    assert fitted.path("exports/obj/mouthPucker.png").exists()


def test_an_avatar_that_is_no_mesh_leaves_glb_and_obj_the_tracked_heads(fitted: Workspace) -> None:
    said: list[str] = []
    context = RunContext()
    context.reporter.warn = said.append  # type: ignore[method-assign]
    summary = run(fitted, ExportSettings(format="glb", avatar="painted"), context)
    assert "avatar" not in summary and fitted.path("exports/glb/head.glb").exists() and "no mesh" in said[0]
    run(fitted, ExportSettings(format="obj", avatar="painted"), RunContext())
    mesh = trimesh.load(fitted.path("exports/obj/head.obj"), process=False)
    assert mesh.visual.material.image.size == (128, 128)
    for format in ("glb", "obj"):
        assert STAGE.all_upstream(ExportSettings(format=format, avatar="plaster")) == ("track", "fit")
        assert STAGE.all_upstream(ExportSettings(format=format)) == ("track",)
