"""The embedded head: what it is made of, and that it moves as its names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import headavatar.head
from headavatar.errors import ModelError
from headavatar.head import JOINTS, landmarks, load
from headavatar.head.model import HeadModel
from headavatar.head.parts import without
from headavatar.head.rotations import axis_angle_to_matrix
from headavatar.scene import ARKIT_NAMES
from headavatar.track.settings import STAGE, TrackSettings

DATA = Path(headavatar.head.__file__).parent / "data" / "embedded.npz"


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load()


@pytest.fixture
def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shaped(head: HeadModel, **coefficients: float) -> torch.Tensor:
    """(V, 3) of the mean head with some expressions."""
    expression = torch.zeros(1, len(ARKIT_NAMES))
    for name, value in coefficients.items():
        expression[0, ARKIT_NAMES.index(name)] = value
    return head.vertices(torch.zeros(head.identity_size), expression)[0]


def points(head: HeadModel, **coefficients: float) -> np.ndarray:
    return head.landmark_points(shaped(head, **coefficients)[None])[0].numpy()


def test_file_is_small_and_free_of_pickles() -> None:
    assert DATA.stat().st_size < 4e6
    with np.load(DATA, allow_pickle=False) as file:
        assert all(file[key].dtype != object for key in file.files)


def test_unknown_or_damaged_model_is_refused(tmp_path: Path) -> None:
    from headavatar.head.store import read

    with pytest.raises(ModelError, match="no head model"):
        load("someone")
    broken = tmp_path / "head.npz"
    broken.write_bytes(DATA.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot be read"):
        read(broken)


def test_speaks_arkit(head: HeadModel) -> None:
    assert head.expression_names == ARKIT_NAMES
    shapes = head.expression_basis.reshape(52, -1).double()
    assert torch.linalg.matrix_rank(shapes) == 52
    # Every name does something that can be seen, and nothing absurd.
    reach = torch.stack([(shaped(head, **{name: 1.0}) - head.template).norm(dim=-1).max() for name in ARKIT_NAMES])
    assert reach.min() > 0.002 and reach.max() < 0.05


def test_measures_of_an_adult(head: HeadModel) -> None:
    left, right = head.joint_template[JOINTS.index("eye_left")], head.joint_template[JOINTS.index("eye_right")]
    assert (left - right).norm() == pytest.approx(0.063, abs=0.0015)
    skin = head.template[~head.regions["lashes"]]
    assert 0.14 < np.ptp(skin[head.regions["scalp"][~head.regions["lashes"]]][:, 0].numpy()) < 0.19
    # The face looks along +z, its left is +x, and up is +y.
    tip = head.landmark_points(head.template[None])[0, landmarks.NOSE_TIP]
    assert tip[2] > left[2] > 0 and left[0] > 0 > right[0] and left[1] > tip[1]


def test_halves_mirror_each_other(head: HeadModel) -> None:
    flip = torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(head.template[head.mirror] * flip, head.template, atol=2e-5)
    for k, name in enumerate(ARKIT_NAMES):
        other = name.replace("Left", "Right") if name.endswith("Left") else name.replace("Right", "Left")
        image = head.expression_basis[ARKIT_NAMES.index(other)][head.mirror] * flip
        assert torch.allclose(image, head.expression_basis[k], atol=2e-5), name
    for mask in ("lips", "face", "teeth", "ears"):
        assert (head.regions[mask] == head.regions[mask][head.mirror]).all()


def test_faces_look_outwards(head: HeadModel) -> None:
    corners = head.template[head.faces].double()
    # The whole skin with its neck closed, an eyeball: their signed volumes are positive.
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for name in ("eye_left", "eye_right", "tongue"):
        inside = head.regions[name][head.faces].all(1)
        middle = corners[inside].mean((0, 1))
        volume = (normal[inside] * (corners[inside].mean(1) - middle)).sum() / 6
        assert volume > 0, name
    front = (head.regions["face"][head.faces].all(1)) & (corners[..., 2].mean(1) > 0.1)
    assert (normal[front, 2] > 0).float().mean() > 0.9
    scalp = head.regions["scalp"][head.faces].all(1)
    center = head.template[head.regions["scalp"]].double().mean(0)
    assert ((normal[scalp] * (corners[scalp].mean(1) - center)).sum(-1) > 0).float().mean() > 0.99
    # Each edge is run through once in each direction, so neighbors agree.
    edges = torch.cat([head.faces[:, [0, 1]], head.faces[:, [1, 2]], head.faces[:, [2, 0]]])
    assert len(edges.unique(dim=0)) == len(edges)


def test_no_hole_but_the_neck(head: HeadModel) -> None:
    from headavatar.head.build.flatten import boundary_loops

    parts = ("teeth", "tongue", "eyes", "lashes")
    loose = torch.stack([head.regions[part] for part in parts]).any(0)
    skin = head.faces[~loose[head.faces].any(1)].numpy()
    (rim,) = boundary_loops(skin)
    heights = head.template[rim, 1]
    assert heights.max() < head.template[head.regions["face"], 1].min() + 0.02
    # The rim is flat: a plane cut it.
    rest = head.template[rim] - head.template[rim].mean(0)
    assert torch.linalg.svdvals(rest)[-1] / len(rim) ** 0.5 < 1e-3


def test_blink_closes_the_lids(head: HeadModel) -> None:
    for side, pairs in (("Left", landmarks.LIDS_LEFT), ("Right", landmarks.LIDS_RIGHT)):
        rest, closed = points(head), points(head, **{f"eyeBlink{side}": 1.0})
        for upper, lower in pairs:
            assert rest[upper, 1] - rest[lower, 1] > 0.006
            assert closed[upper, 1] - closed[lower, 1] < 0.001
        half = points(head, **{f"eyeBlink{side}": 0.5})
        upper, lower = pairs[0]
        assert 0.002 < half[upper, 1] - half[lower, 1] < 0.7 * (rest[upper, 1] - rest[lower, 1])


def test_a_closed_lid_hides_the_eyeball(head: HeadModel) -> None:
    from headavatar.head.build.frontview import visible

    vertices = shaped(head, eyeBlinkLeft=1.0, eyeBlinkRight=1.0).numpy().astype(np.float64)
    faces = head.faces[~head.regions["lashes"][head.faces].any(1)].numpy()
    eye = head.regions["eyes"].numpy()[faces].all(1)
    for joint in ("eye_left", "eye_right"):
        center = head.joint_template[JOINTS.index(joint)].numpy()
        near = np.flatnonzero(np.abs(vertices[faces].mean(1) - center).max(1) < 0.03)
        corners = vertices[faces[near]]
        steps = np.stack(np.meshgrid(np.linspace(-0.013, 0.013, 53), np.linspace(-0.010, 0.010, 41)), -1).reshape(-1, 2)
        triangles, _ = visible(center[:2] + steps, corners)
        assert (triangles >= 0).all()
        assert eye[near[triangles]].mean() < 0.005


def test_jaw_opens_the_mouth(head: HeadModel) -> None:
    rest, opened = points(head), points(head, jawOpen=1.0)
    assert abs(rest[13, 1] - rest[14, 1]) < 0.004
    assert opened[13, 1] - opened[14, 1] > 0.02
    moved = (shaped(head, jawOpen=1.0) - head.template).norm(dim=-1)
    assert moved[head.regions["teeth_lower"]].min() > 0.01
    assert moved[head.regions["tongue"]].max() > 0.015
    assert moved[head.regions["teeth_upper"]].max() < 0.001
    turned = head.vertices(torch.zeros(100), torch.zeros(1, 52), jaw=torch.tensor([[0.3, 0.0, 0.0]]))[0]
    chin = head.landmark_points(turned[None])[0, landmarks.CHIN].numpy()
    assert chin[1] < rest[landmarks.CHIN, 1] - 0.008


@pytest.mark.parametrize(
    ("name", "eye", "axis", "sign"),
    [
        ("eyeLookOutLeft", "eye_left", 0, 1), ("eyeLookInLeft", "eye_left", 0, -1),
        ("eyeLookOutRight", "eye_right", 0, -1), ("eyeLookInRight", "eye_right", 0, 1),
        ("eyeLookUpLeft", "eye_left", 1, 1), ("eyeLookDownRight", "eye_right", 1, -1),
    ],
)  # fmt: skip
def test_gaze_turns_the_eyeball(head: HeadModel, name: str, eye: str, axis: int, sign: int) -> None:
    ball = head.regions[eye]
    rest, looked = head.template[ball], shaped(head, **{name: 1.0})[ball]
    center = head.joint_template[JOINTS.index(eye)]
    pole = (rest[:, 2]).argmax()
    assert sign * (looked[pole] - rest[pole])[axis] > 0.004
    assert torch.allclose((looked - center).norm(dim=-1), (rest - center).norm(dim=-1), atol=1e-5)
    other = head.regions["eye_right" if eye == "eye_left" else "eye_left"]
    assert torch.equal(shaped(head, **{name: 1.0})[other], head.template[other])


def test_eyes_parameter_turns_to_the_same_side(head: HeadModel) -> None:
    eyes = torch.tensor([[0.0, 0.4, 0.0, 0.0, 0.4, 0.0]])
    moved = head.vertices(torch.zeros(100), torch.zeros(1, 52), eyes=eyes)
    iris = list(landmarks.IRISES)
    shift = (head.landmark_points(moved) - head.landmark_points(head.template[None]))[0, iris]
    assert (shift[[0, 5], 0] > 0.003).all()


def test_the_neck_bends_under_a_skull_that_stays(head: HeadModel) -> None:
    neck = torch.tensor([[0.0, 0.5, 0.0]])
    turned = head.vertices(torch.zeros(100), torch.zeros(1, 52), neck=neck)[0]
    moved = (turned - head.template).norm(dim=-1)
    assert moved[head.regions["eyes"]].max() < 1e-6
    assert moved[head.regions["face"] | head.regions["ears"]].max() < 0.005  # below chin and ears skin follows both
    # seen from the torso, whose pose in head space is the neck's inverse, nothing but the cut stays
    pivot = head.joint_positions(torch.zeros(100))[0]
    torso = axis_angle_to_matrix(neck)[0].T
    lowest = head.template[:, 1] + 0.28 * head.template[:, 2]
    cut = lowest < lowest.min() + 0.001
    assert torch.allclose(turned[cut], (head.template[cut] - pivot) @ torso.T + pivot, atol=1e-4)
    assert moved[cut].max() > 0.01


def test_an_offset_is_part_of_the_rest_shape(head: HeadModel, random: torch.Generator) -> None:
    identity, expression = torch.randn(100, generator=random), torch.rand(2, 52, generator=random)
    offset = 0.01 * torch.randn(head.vertex_count, 3, generator=random)
    before = head.template.clone()
    still = ((head.weights[:, 1:] == 0).all(1)).nonzero()[:, 0]
    changed = head.with_offset(offset)
    moved = changed.vertices(identity, expression) - head.vertices(identity, expression)
    assert torch.allclose(moved[:, still], offset[still].expand(2, -1, -1), atol=1e-6)
    assert torch.equal(head.template, before)
    with pytest.raises(ValueError, match="offset"):
        head.with_offset(offset[1:])


def test_posed_moves_rigidly(head: HeadModel, random: torch.Generator) -> None:
    identity = torch.randn(100, generator=random)
    expression = torch.rand(3, 52, generator=random)
    rotation, translation = torch.randn(3, 3, generator=random), torch.randn(3, 3, generator=random)
    local = head.vertices(identity, expression)
    world = head.posed(identity, expression, rotation, translation)
    edges = head.faces[::50]
    before = (local[:, edges[:, 0]] - local[:, edges[:, 1]]).norm(dim=-1)
    after = (world[:, edges[:, 0]] - world[:, edges[:, 1]]).norm(dim=-1)
    assert torch.allclose(before, after, atol=1e-5)


def test_subset_and_landmark_model_agree_with_the_whole(head: HeadModel, random: torch.Generator) -> None:
    identity = torch.randn(100, generator=random)
    expression = torch.rand(4, 52, generator=random)
    neck, jaw = 0.2 * torch.randn(4, 3, generator=random), 0.1 * torch.randn(4, 3, generator=random)
    eyes = 0.2 * torch.randn(4, 6, generator=random)
    whole = head.vertices(identity, expression, neck, jaw, eyes)
    subset = torch.randperm(head.vertex_count, generator=random)[:500]
    assert torch.allclose(head.vertices(identity, expression, neck, jaw, eyes, subset), whole[:, subset], atol=1e-6)
    quick = head.landmark_model().points(identity, expression, neck, jaw, eyes)
    assert (quick - head.landmark_points(whole)).norm(dim=-1).max() < 3e-4


def test_gradients_reach_every_parameter(head: HeadModel, random: torch.Generator) -> None:
    sizes = {"identity": (100,), "expression": (2, 52), "rotation": (2, 3), "translation": (2, 3), "neck": (2, 3),
             "jaw": (2, 3), "eyes": (2, 6)}  # fmt: skip
    values = {k: torch.zeros(s, requires_grad=True) for k, s in sizes.items()}  # at zero, where square roots break
    target = torch.randn(2, head.vertex_count, 3, generator=random)
    (head.posed(**values) * target).sum().backward()
    for name, value in values.items():
        assert value.grad is not None and value.grad.isfinite().all(), name
        assert (value.grad.abs() > 0).float().mean() > 0.9, name


def test_identities_differ_but_stay_heads(head: HeadModel, random: torch.Generator) -> None:
    identities = torch.randn(6, 100, generator=random)
    shapes = torch.stack([head.vertices(i, torch.zeros(1, 52))[0] for i in identities])
    spread = (shapes - head.template).norm(dim=-1)[:, head.regions["face"]].mean()
    assert 0.002 < spread < 0.03
    for identity in identities:
        joints = head.joint_positions(identity)
        assert 0.052 < (joints[2] - joints[3]).norm() < 0.076


def test_identity_does_not_open_the_mouth_or_close_the_eyes(head: HeadModel) -> None:
    """How much of an expression could the identity's likely range imitate?"""
    skin = head.regions["face"] | head.regions["lips"] | head.regions["eyelids"]
    basis = head.identity_basis[:, skin].reshape(100, -1).double()
    prior = 1e-6 * basis.shape[1] * 0.25 * torch.eye(100, dtype=torch.float64)  # noise of half a millimeter
    for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft", "mouthPucker"):
        shape = head.expression_basis[ARKIT_NAMES.index(name), skin].reshape(-1).double()
        fitted = torch.linalg.solve(basis @ basis.T + prior, basis @ shape)
        left = (shape - fitted @ basis).norm() / shape.norm()
        assert left > 0.6, (name, float(left))


def test_a_head_that_nobody_added_is_a_missing_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="no head model 'nobody'"):
        STAGE.inputs(TrackSettings(head="nobody"))


def test_a_head_without_a_part_is_the_same_head_elsewhere(rng: np.random.Generator) -> None:
    head = load()
    bare = without(head, "lashes")
    lashes = head.regions["lashes"]
    assert not lashes[bare.faces].any() and len(bare.faces) == len(bare.uv_faces)
    assert len(head.faces) - len(bare.faces) == int(lashes[head.faces].any(1).sum()) > 0
    points = torch.from_numpy(rng.normal(0, 0.1, (1, head.vertex_count, 3)).astype(np.float32))
    torch.testing.assert_close(bare.landmark_points(points), head.landmark_points(points))
    torch.testing.assert_close(bare.uvs[bare.uv_faces], head.uvs[head.uv_faces][~lashes[head.faces].any(1)])
    assert without(head, "horns") is head
