"""The GLB, read back by readers that are not ours: trimesh and pygltflib."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation
from small_workspace import write_small_workspace

from headavatar.export.settings import ExportSettings
from headavatar.export.stage import run
from headavatar.head import load
from headavatar.progress import RunContext
from headavatar.scene import ARKIT_NAMES
from headavatar.workspace import Workspace, load_params

WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
DTYPES = {5123: np.uint16, 5125: np.uint32, 5126: np.float32}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Any]]:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"seed {seed}")
    workspace = write_small_workspace(tmp_path_factory.mktemp("glb") / "anna.avatar", np.random.default_rng(seed))
    return workspace, run(workspace, ExportSettings(format="glb"), RunContext())


@pytest.fixture(scope="module")
def glb(exported: tuple[Workspace, dict[str, Any]]) -> Path:
    return exported[0].path("exports/glb/head.glb")


def accessor(file: pygltflib.GLTF2, index: int) -> np.ndarray:
    """An accessor's values, sparse ones filled in."""
    blob = file.binary_blob()
    assert blob is not None
    about = file.accessors[index]
    width = WIDTHS[about.type]

    def read(view: int, count: int, columns: int, kind: int) -> np.ndarray:
        start = file.bufferViews[view].byteOffset
        return np.frombuffer(blob, DTYPES[kind], count * columns, start).reshape(count, columns)

    if about.bufferView is not None:
        return read(about.bufferView, about.count, width, about.componentType)
    values = np.zeros((about.count, width), np.float32)
    if about.sparse is not None:
        rows = read(about.sparse.indices.bufferView, about.sparse.count, 1, about.sparse.indices.componentType)[:, 0]
        assert (np.diff(rows.astype(np.int64)) > 0).all()
        values[rows] = read(about.sparse.values.bufferView, about.sparse.count, width, about.componentType)
    return values


def test_targets_carry_arkits_names_in_order(glb: Path) -> None:
    file = pygltflib.GLTF2().load(str(glb))
    mesh = file.meshes[0]
    assert mesh.extras["targetNames"] == list(ARKIT_NAMES)
    assert len(mesh.primitives[0].targets) == len(mesh.weights) == 52
    assert file.asset.extras["headavatar"]["head_model"] == "embedded"


def test_targets_are_what_each_expression_does_to_this_head(
    glb: Path, exported: tuple[Workspace, dict[str, Any]]
) -> None:
    head, file = load(), pygltflib.GLTF2().load(str(glb))
    identity = torch.as_tensor(load_params(exported[0]).identity)
    primitive = file.meshes[0].primitives[0]
    positions = accessor(file, primitive.attributes.POSITION)
    rest = head.vertices(identity, torch.zeros(1, 52))[0].numpy()
    # corners of faces match in order, whatever the vertices were split into
    corners = accessor(file, primitive.indices)[:, 0]
    source = head.faces.numpy().reshape(-1)
    np.testing.assert_allclose(positions[corners], rest[source], atol=1e-6)
    for i, target in enumerate(primitive.targets):
        wanted = head.vertices(identity, torch.eye(52)[i : i + 1])[0].numpy() - rest
        got = accessor(file, target["POSITION"])
        np.testing.assert_allclose(got[corners], wanted[source], atol=2e-6, err_msg=ARKIT_NAMES[i])
        assert np.abs(got).max() > 5e-4, ARKIT_NAMES[i]
    uvs = accessor(file, primitive.attributes.TEXCOORD_0)
    wanted_uvs = head.uvs.numpy()[head.uv_faces.numpy().reshape(-1)]
    np.testing.assert_allclose(uvs[corners], wanted_uvs * [1, -1] + [0, 1], atol=1e-6)


def test_trimesh_reads_a_head_of_human_size(glb: Path) -> None:
    scene = trimesh.load(glb)
    size = scene.bounds[1] - scene.bounds[0]
    assert 0.12 < size[0] < 0.25 and 0.2 < size[1] < 0.4  # metres, y up
    mesh = next(iter(scene.geometry.values()))
    assert mesh.visual.material.baseColorTexture.size == (128, 128)
    # faces are seen from outside: the outermost point to the front looks to the front
    front = mesh.vertices[:, 2].argmax()
    assert mesh.vertex_normals[front, 2] > 0.3


def test_skinning_moves_vertices_as_the_head_model_does(
    glb: Path, exported: tuple[Workspace, dict[str, Any]], rng: np.random.Generator
) -> None:
    head, file = load(), pygltflib.GLTF2().load(str(glb))
    identity = torch.as_tensor(load_params(exported[0]).identity)
    neck, jaw, eyes = (rng.uniform(-0.2, 0.2, (1, n)).astype(np.float32) for n in (3, 3, 6))
    wanted = head.vertices(
        identity, torch.zeros(1, 52), torch.as_tensor(neck), torch.as_tensor(jaw), torch.as_tensor(eyes)
    )[0].numpy()  # fmt: skip
    turns = {"neck": neck[0], "jaw": jaw[0], "eye_left": eyes[0, :3], "eye_right": eyes[0, 3:]}
    primitive, skin = file.meshes[0].primitives[0], file.skins[0]
    inverse = accessor(file, skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
    parents = {child: index for index in skin.joints for child in file.nodes[index].children}
    matrices: dict[int, np.ndarray] = {}
    for index in skin.joints:
        node = file.nodes[index]
        local = np.eye(4)
        local[:3, :3] = Rotation.from_rotvec(turns.get(node.name, np.zeros(3))).as_matrix()
        local[:3, 3] = node.translation
        if node.name == "root":  # in head space the skull stays and the torso turns
            local[:3, :3] = Rotation.from_rotvec(neck[0]).inv().as_matrix()
            pivot = head.joint_positions(identity)[0].numpy()
            local[:3, 3] = pivot - local[:3, :3] @ pivot
        matrices[index] = matrices[parents[index]] @ local if index in parents else local
    bones = np.stack([matrices[index] for index in skin.joints]) @ inverse
    joints, weights = accessor(file, primitive.attributes.JOINTS_0), accessor(file, primitive.attributes.WEIGHTS_0)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    blend = (bones[joints] * weights[..., None, None]).sum(axis=1)
    rest = accessor(file, primitive.attributes.POSITION)
    got = np.einsum("vij,vj->vi", blend[:, :3, :3], rest) + blend[:, :3, 3]
    corners = accessor(file, primitive.indices)[:, 0]
    source = head.faces.numpy().reshape(-1)
    off = np.abs(got[corners] - wanted[source]).max(axis=1)
    # glTF's jaw turns inside the neck's frame; the throat, which follows the jaw and half the neck, is off by a little
    throat = ((head.weights[:, 0] < 1) & (head.weights[:, 1] > 0)).numpy()[source]
    assert off[~throat].max() < 1e-5
    assert off.max() < 5e-3


def neck_node(file: pygltflib.GLTF2) -> pygltflib.Node:
    return next(node for node in file.nodes if node.name == "neck")


def test_the_animation_is_the_tracked_clip(glb: Path, exported: tuple[Workspace, dict[str, Any]]) -> None:
    file, params = pygltflib.GLTF2().load(str(glb)), load_params(exported[0])
    animation = file.animations[0]
    outputs = {
        (file.nodes[c.target.node].name, c.target.path): accessor(file, animation.samplers[c.sampler].output)
        for c in animation.channels
    }
    times = accessor(file, animation.samplers[0].input)[:, 0]
    np.testing.assert_allclose(times, np.arange(36) / 10, atol=1e-6)
    np.testing.assert_allclose(outputs["head_mesh", "weights"].reshape(36, 52), params.expression)
    for name, wanted in (("neck", params.neck), ("eye_right", params.eyes[:, 3:])):
        got = Rotation.from_quat(outputs[name, "rotation"])
        assert (got.inv() * Rotation.from_rotvec(wanted)).magnitude().max() < 1e-5
    # the skull, which hangs on the neck, moves as tracked
    moved, root = outputs["root", "translation"], Rotation.from_quat(outputs["root", "rotation"])
    skull, joint = root * Rotation.from_rotvec(params.neck), np.array(neck_node(file).translation)
    assert (skull.inv() * Rotation.from_rotvec(params.rotation)).magnitude().max() < 1e-5
    point = np.array([0.0, 0.02, 0.1])
    seen = moved + root.apply(joint) + skull.apply(point - joint)
    wanted = Rotation.from_rotvec(params.rotation).apply(point) + params.translation
    np.testing.assert_allclose(seen - seen[0], wanted - wanted[0], atol=1e-6)
    assert np.abs(moved).max() < 0.1  # about the scene's origin, not half a metre away


def test_a_file_without_texture_and_a_part_of_the_clip(tmp_path: Path, rng: np.random.Generator) -> None:
    workspace = write_small_workspace(tmp_path / "bare.avatar", rng)
    workspace.path("track/texture.png").unlink()
    summary = run(workspace, ExportSettings(format="glb", frames="3:10"), RunContext())
    file = pygltflib.GLTF2().load(str(workspace.path("exports/glb/head.glb")))
    assert summary["frames"] == 7 and not file.textures
    assert "+y up" in workspace.path("exports/glb/README.txt").read_text()


def test_the_header_is_glb_2(glb: Path) -> None:
    data = glb.read_bytes()
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    chunk = struct.unpack("<I", data[12:16])[0]
    assert json.load(io.BytesIO(data[20 : 20 + chunk]))["asset"]["version"] == "2.0"
