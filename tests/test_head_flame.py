"""FLAME from the user's own file: refused where it is not right, else a head that tracks, speaks ARKit and native."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import flame_like
import numpy as np
import pytest
import synthetic
import torch
from python2_pickle import Ch, write

from headavatar.cli import checks
from headavatar.errors import ModelError, UsageError
from headavatar.head import HeadModel, added, flame, landmarks, load
from headavatar.head.adapters import flame as adapter
from headavatar.head.native import NativeHead
from headavatar.head.rotations import axis_angle_to_matrix, axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.pretrained import cache
from headavatar.progress import RunContext
from headavatar.scene import ARKIT_NAMES, Array
from headavatar.track import stage
from headavatar.track.settings import STAGE, TrackSettings
from headavatar.workspace import load_params

MOVED = ("jawOpen", "mouthSmileLeft", "mouthPucker", "browInnerUp", "eyeBlinkLeft", "eyeLookOutLeft")
EXPORTED = [sys.executable, "-c", "from headavatar.cli.main import main; main()"]


class Runs:
    """Runs a command when it is unpickled, as a malicious file would have it."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return (os.system, (self.command,))


@pytest.fixture
def head(flame_cache: added.Report) -> HeadModel:
    return load("flame")


@pytest.fixture
def native(flame_cache: added.Report) -> flame.Flame:
    return flame.load()


def coefficients(**values: float) -> torch.Tensor:
    row = torch.zeros(1, len(ARKIT_NAMES))
    for name, value in values.items():
        row[0, ARKIT_NAMES.index(name)] = value
    return row


def points(head: HeadModel, **values: float) -> Array:
    """(478, 3) landmarks of the mean head, millimetres."""
    vertices = head.vertices(torch.zeros(head.identity_size), coefficients(**values))
    return head.landmark_points(vertices)[0].numpy() * 1000


def openness(head: HeadModel, pairs: tuple[tuple[int, int], ...], **values: float) -> float:
    at = points(head, **values)
    return float(np.mean([at[a, 1] - at[b, 1] for a, b in pairs]))


# what is refused


def variants(proof: Path) -> dict[str, dict[str, Any]]:
    """What is wrong → the pickle's content."""
    good = flame_like.make().content
    bent = good["v_template"].copy()
    bent[7, 1] = np.nan
    chain = good["kintree_table"].copy()
    chain[0, 2:] = 0
    return {
        "nothing": {},
        "no shapedirs": {key: value for key, value in good.items() if key != "shapedirs"},
        "no J_regressor": {key: value for key, value in good.items() if key != "J_regressor"},
        "a body": {**good, "v_template": np.zeros((6890, 3))},
        "too few directions": {**good, "shapedirs": good["shapedirs"][..., :150]},
        "not numbers": {**good, "weights": np.full((5023, 5), "x")},
        "not finite": {**good, "v_template": bent},
        "other joints": {**good, "kintree_table": chain},
        "faces beyond": {**good, "f": good["f"] + 100},
        "code": {**good, "weights": Runs(f"touch {proof}")},
        "code in chumpy": {**good, "shapedirs": Ch(Runs(f"touch {proof}"))},
    }


@pytest.mark.parametrize("wrong", list(variants(Path("x"))))
def test_wrong_files_are_refused_and_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path / "cache"))
    file, proof = tmp_path / "generic_model.pkl", tmp_path / "ran"
    write(file, variants(proof)[wrong])
    with pytest.raises(ModelError) as caught:
        added.add("flame", file)
    assert caught.value.exit_code == 5 and str(file) in caught.value.what and caught.value.why and caught.value.fix
    assert not proof.exists() and cache.head_models() == []


def test_the_command_refuses_with_exit_5(tmp_path: Path) -> None:
    proof, file = tmp_path / "ran", tmp_path / "generic_model.pkl"
    write(file, {"v_template": Runs(f"touch {proof}")})
    environment = {**os.environ, "HEADAVATAR_CACHE": str(tmp_path)}
    command = [*EXPORTED, "models", "add", "flame", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 5 and "system" in done.stderr and "fix" in done.stderr
    assert not proof.exists()


def test_heads_that_were_not_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path))
    for name in ("flame", "other", "../embedded"):
        with pytest.raises(ModelError) as caught:
            load(name)
        assert "models add" in caught.value.fix
    with pytest.raises(UsageError):
        added.add("smpl", tmp_path / "x")
    with pytest.raises(UsageError):
        added.add("flame", tmp_path / "x", "a/b")


# what the head is


def test_parts_and_report(flame_cache: added.Report, head: HeadModel) -> None:
    assert (head.vertex_count, len(head.faces), head.identity_size) == (5023, 9976, 100)
    assert head.expression_names == ARKIT_NAMES and head.name == "flame"
    assert set(flame_cache.residual_mm) == set(ARKIT_NAMES)
    assert max(flame_cache.residual_mm.values()) < 1.5
    telling = [flame_cache.residual_mm[name] / flame_cache.moved_mm[name] for name in MOVED]
    assert max(telling) < 0.2
    (part,) = checks.heads()
    assert part.state == checks.PRESENT and "flame" in part.name and "mm" in part.detail
    embedded = load()
    assert set(head.regions) == set(embedded.regions)
    eyes = head.joint_positions(torch.zeros(100))[2:].numpy()
    assert np.abs(eyes - embedded.joint_positions(torch.zeros(100))[2:].numpy()).max() < 0.006
    assert eyes[0, 0] > eyes[1, 0]
    tip = head.template[:, 2].argmax()
    assert head.regions["face"][tip] and abs(float(head.template[tip, 0])) < 0.003
    uvs = head.uvs[head.uv_faces].double().numpy()
    a, b = uvs[:, 1] - uvs[:, 0], uvs[:, 2] - uvs[:, 0]
    assert (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 0).mean() > 0.99 and uvs.min() >= 0 and uvs.max() <= 1
    assert (head.mirror[head.mirror] == torch.arange(5023)).float().mean() > 0.8


def test_landmarks_lie_where_the_embedded_head_has_them(head: HeadModel) -> None:
    embedded, made = load(), flame_like.make()
    corners = embedded.faces.numpy()[made.face]
    source = np.einsum("nkc,nk->nc", embedded.template.numpy()[corners], made.bary)
    wanted = embedded.landmark_points(embedded.template[None])[0].numpy()
    faces, bary = head.faces.numpy()[head.landmark_faces.numpy()], head.landmark_bary.numpy()
    skin = (faces < len(source)).all(1)
    assert skin[:468].all() and not skin[468:].any()
    found = np.einsum("nkc,nk->nc", source[faces[:468]], bary[:468])
    error = np.linalg.norm(found - wanted[:468], axis=1) * 1000
    assert error.mean() < 1.5, error.mean()
    contours = list(landmarks.EYES + landmarks.LIPS_INNER + landmarks.LIPS_OUTER)
    assert error[contours].mean() < 1.2, error[contours].mean()
    pupils = points(head)[[landmarks.IRIS_LEFT[0], landmarks.IRIS_RIGHT[0]]] / 1000
    centers = head.joint_positions(torch.zeros(100))[2:].numpy()
    assert np.abs((pupils - centers)[:, :2]).max() < 0.001 and ((pupils - centers)[:, 2] > 0.01).all()


def test_shapes_do_what_their_names_say(head: HeadModel, native: flame.Flame) -> None:
    lips = tuple(zip(landmarks.LIPS_INNER[5:6], landmarks.LIPS_INNER[15:16], strict=True))
    lips = tuple((b, a) for a, b in lips)
    assert openness(head, lips, jawOpen=1) - openness(head, lips) > 12
    _, jaw = flame.to_native(native, coefficients(jawOpen=1).numpy())
    assert 0.1 < jaw[0, 0] < 0.6 and np.abs(jaw[0, 1:]).max() < 0.05
    for side, lids, others in (
        ("Left", landmarks.LIDS_LEFT, landmarks.LIDS_RIGHT), ("Right", landmarks.LIDS_RIGHT, landmarks.LIDS_LEFT),
    ):  # fmt: skip
        blink = {f"eyeBlink{side}": 1.0}
        assert openness(head, lids, **blink) < 0.25 * openness(head, lids)
        assert openness(head, others, **blink) > 0.9 * openness(head, others)
    rest = points(head)
    smile = points(head, mouthSmileLeft=1, mouthSmileRight=1) - rest
    assert smile[61, 1] > 2 and smile[291, 1] > 2 and smile[61, 0] < -1 and smile[291, 0] > 1
    assert points(head, browInnerUp=1)[107, 1] - rest[107, 1] > 1.5
    pucker = points(head, mouthPucker=1)
    assert pucker[291, 0] - pucker[61, 0] < rest[291, 0] - rest[61, 0] - 5
    left = points(head, eyeLookOutLeft=1)[landmarks.IRIS_LEFT[0]] - rest[landmarks.IRIS_LEFT[0]]
    assert left[0] > 3
    chin = points(head, jawLeft=1)[landmarks.CHIN] - rest[landmarks.CHIN]
    assert chin[0] > 2


# native parameters


def test_the_head_is_flame(head: HeadModel, native: flame.Flame, rng: np.random.Generator) -> None:
    """Shape, neck, jaw and eyes move both alike; ARKit's coefficients, said in FLAME's terms, nearly so."""
    shape = rng.normal(0, 1, 100).astype(np.float32)
    angles = torch.from_numpy(rng.normal(0, 0.12, (3, 3, 3)).astype(np.float32))
    eyes = torch.from_numpy(rng.normal(0, 0.2, (3, 6)).astype(np.float32))
    still = torch.zeros(3, 52)
    ours = head.vertices(torch.from_numpy(shape), still, jaw=angles[0], eyes=eyes).numpy() - native.shift
    theirs = flame.flame_vertices(native, torch.from_numpy(shape), torch.zeros(3, 1), jaw=angles[0], eyes=eyes).numpy()
    apart = np.linalg.norm(ours - theirs, axis=2) * 1000
    assert np.median(apart) < 0.05 and apart.max() < 2.0  # the head has no correctives for a jaw turned by itself
    row = rng.uniform(0, 0.6, (3, 52)).astype(np.float32) * (rng.random((3, 52)) < 0.2)
    row[:, [ARKIT_NAMES.index(name) for name in ARKIT_NAMES if "Blink" in name or "Look" in name]] = 0
    expression, jaw = flame.to_native(native, row)
    theirs = flame.flame_vertices(
        native, torch.zeros(1), torch.from_numpy(expression).float(), jaw=torch.from_numpy(jaw).float()
    ).numpy()
    ours = head.vertices(torch.zeros(100), torch.from_numpy(row)).numpy() - native.shift
    assert np.linalg.norm(ours - theirs, axis=2).max() < 2e-3  # the jaw's correctives grow with the angle's sine


def test_native_parameters_come_back(head: HeadModel, native: flame.Flame, rng: np.random.Generator) -> None:
    frames = 12
    row = rng.uniform(0, 0.8, (frames, 52)).astype(np.float32) * (rng.random((frames, 52)) < 0.25)
    opposed = ("Blink", "LookIn", "LookUp")  # lids that FLAME cannot say, and looks that would cancel others
    row[:, [k for k, name in enumerate(ARKIT_NAMES) if any(part in name for part in opposed)]] = 0
    expression, jaw = flame.to_native(native, row)
    turn, neck = rng.normal(0, 0.3, (frames, 3)), rng.normal(0, 0.05, (frames, 3))
    place, shape = rng.normal(0, 0.1, (frames, 3)), rng.normal(0, 0.5, 300)
    gaze = head.gaze(torch.from_numpy(row)).numpy()
    eyes = np.concatenate([gaze[:, 3 * k : 3 * k + 3] for k in np.argsort(native.eye_order)], 1)
    found = flame.convert(native, head, shape, expression, turn, place, neck, jaw, eyes)
    tensors = (torch.from_numpy(np.asarray(a, np.float32)) for a in (expression, turn, neck, jaw, eyes, place))
    theirs = flame.flame_vertices(native, torch.from_numpy(shape).float(), *tensors).numpy()
    p = found.params
    local = head.vertices(*(torch.from_numpy(a) for a in (p.identity, p.expression, p.neck, p.jaw, p.eyes)))
    local = local + torch.from_numpy(found.offset)
    rotation = axis_angle_to_matrix(torch.from_numpy(p.rotation))
    ours = (local @ rotation.transpose(1, 2) + torch.from_numpy(p.translation)[:, None]).numpy()
    assert np.linalg.norm(ours - theirs, axis=2).mean() < 1e-3
    assert found.residual_mm.max() < 1.5
    back = flame.convert_back(native, head, found.params)
    for name, value in (("global_pose", turn), ("translation", place), ("neck", neck), ("jaw", jaw), ("eyes", eyes)):
        assert np.abs(getattr(back, name) - value).max() < 2e-3, name
    for name in ("jawOpen", "mouthSmileLeft", "browInnerUp", "eyeLookOutLeft"):
        k = ARKIT_NAMES.index(name)
        if row[:, k].std() > 0.1:
            assert np.corrcoef(row[:, k], p.expression[:, k])[0, 1] > 0.9, name
    assert p.expression.min() >= 0 and p.expression.max() <= 1


# the pipeline


def test_track_with_it(
    flame_cache: added.Report, head: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(synthetic, "head", lambda: head)
    clip = synthetic.make(30, 160, seed)
    workspace = synthetic.write_workspace(tmp_path / "one.avatar", clip=clip)
    settings = TrackSettings(
        head="flame", refine="fast", keyframes=20, surfels=1000, texture_size=64, texture_frames=4, **synthetic.EXACT
    )
    summary = stage.run(workspace, settings, RunContext())
    assert summary["landmark_nme"] < 0.03 and summary["silhouette_iou"] > 0.85
    assert str(workspace.read_npz("track/params.npz")["head_model"]) == "flame"
    params = load_params(workspace)
    relative = axis_angle_to_matrix_np(params.rotation) @ axis_angle_to_matrix_np(clip.params.rotation).swapaxes(1, 2)
    assert np.degrees(np.linalg.norm(matrix_to_axis_angle_np(relative), axis=1)).mean() < 2
    for name in ("jawOpen", "mouthSmileLeft", "browInnerUp", "eyeBlinkLeft"):
        k = ARKIT_NAMES.index(name)
        assert np.corrcoef(params.expression[:, k], clip.params.expression[:, k])[0, 1] > 0.8, name
    assert STAGE.inputs(settings)[0] == str(cache.head_model("flame"))


def test_another_model_is_one_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flame_cache: added.Report
) -> None:
    """A toy adapter: its file is an npz, it brings ARKit's shapes along, and has three identity modes."""
    known = flame_like.make()
    shapes = np.zeros((52, 5023, 3), np.float32)
    shapes[ARKIT_NAMES.index("jawOpen"), :, 1] = -0.01 * known.content["weights"][:, 2]

    class Toy:
        TITLE = "a toy"

        @staticmethod
        def read(path: Path) -> NativeHead:
            one = adapter._native(path, known.content)
            with np.load(path) as file:
                arkit = file["arkit"]
            return NativeHead(
                one.template, one.faces, one.identity_basis[:3], one.expression_basis[:0], one.weights, one.joints,
                one.joint_basis[:3], one.jaw_basis, arkit,
            )  # fmt: skip

    monkeypatch.setitem(sys.modules, "toy_adapter", Toy)
    monkeypatch.setitem(added.ADAPTERS, "toy", "toy_adapter")
    np.savez(tmp_path / "toy.npz", arkit=shapes)
    report = added.add("toy", tmp_path / "toy.npz", "mine")
    assert report.residual_mm == {} and report.identity_modes == 3
    made = load("mine")
    assert made.regions["lips"].sum() > 100
    lower = made.regions["lips"].numpy() & (known.content["weights"][:, 2] > 0.5)
    moved = made.vertices(torch.zeros(3), coefficients(jawOpen=1)) - made.vertices(torch.zeros(3), coefficients())
    assert moved[0, lower, 1].mean() < -0.005
    with pytest.raises(ModelError):
        flame.load("mine")
    assert cache.head_models() == ["flame", "mine"]
    cache.head_model("mine").unlink()
