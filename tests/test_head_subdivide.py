"""A head subdivided once: known solids, and a head that is still itself."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from headavatar.head import HeadModel, added, landmarks, load
from headavatar.head.store import HeadData
from headavatar.head.subdivide import KEPT, subdivided
from headavatar.scene import ARKIT_NAMES, Array

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CUBE_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
OCTAHEDRON = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
OCTAHEDRON_FACES = np.array([[(0, 1)[a], (2, 3)[b], (4, 5)[c]] for a in (0, 1) for b in (0, 1) for c in (0, 1)])


@pytest.fixture(scope="module")
def fine() -> HeadModel:
    return subdivided(load())


def solid(points: Array, quads: Array, regions: dict[str, Array] | None = None) -> HeadModel:
    """A mesh as a head that does nothing."""
    count, names = len(points), ARKIT_NAMES
    zero = np.zeros((len(names), count, 3), np.float32)
    return HeadModel(
        HeadData(
            name="solid", template=points.astype(np.float32), identity_basis=zero[:2], expression_basis=zero,
            expression_names=names, quads=quads, uvs=points[:, :2].astype(np.float32), uv_quads=quads,
            weights=np.zeros((count, 4), np.float32), joints=np.zeros((4, 3), np.float32),
            joint_basis=np.zeros((2, 4, 3), np.float32), regions=regions or {}, landmark_faces=np.zeros(478, int),
            landmark_bary=np.full((478, 3), 1 / 3, np.float32), mirror=np.arange(count),
            jaw_turns=np.zeros((len(names), 3), np.float32),
        )
    )  # fmt: skip


def test_a_cube_becomes_what_catmull_and_clark_say() -> None:
    result = subdivided(solid(CUBE, CUBE_QUADS))
    points = result.template.numpy()
    assert len(points) == 8 + 12 + 6 and len(result.quads) == 24
    assert np.allclose(points[:8], CUBE * 5 / 9, atol=1e-6)  # (1/3 + 2 * 2/3 + 0) / 3
    lengths = np.sort(np.abs(points[8:20]), axis=1)
    assert np.allclose(lengths, [0, 0.75, 0.75], atol=1e-6)  # half of the middle (0, 1, 1), half of the faces' mean
    assert np.allclose(np.sort(np.abs(points[20:]), axis=1), [0, 0, 1], atol=1e-6)


def test_an_octahedron_becomes_what_loop_says() -> None:
    result = subdivided(solid(OCTAHEDRON, OCTAHEDRON_FACES[:, [0, 1, 2, 2]]))
    points = result.template.numpy()
    assert len(points) == 6 + 12 and len(result.faces) == 32
    assert np.allclose(points[:6], OCTAHEDRON * 5 / 8, atol=1e-6)  # 1 - 4 * 3/32
    assert np.allclose(np.sort(np.abs(points[6:]), axis=1), [0, 3 / 8, 3 / 8], atol=1e-6)


def test_a_flat_border_stays_flat_and_becomes_a_spline(rng: np.random.Generator) -> None:
    rows, columns = 4, 5
    points = np.stack([*np.meshgrid(np.arange(columns), np.arange(rows)), np.zeros((rows, columns))], -1).reshape(-1, 3)
    points = points + rng.normal(0, 0.1, points.shape) * [1, 1, 0]
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    quads = np.stack([first, first + 1, first + columns + 1, first + columns], 1)
    result = subdivided(solid(points, quads)).template.numpy()
    assert np.allclose(result[:, 2], 0)
    spline = (points[1] + 6 * points[2] + points[3]) / 8
    assert np.allclose(result[2], spline, atol=1e-6)


def test_what_a_kept_part_shares_stays_where_it_is() -> None:
    eyes = np.zeros(8, bool)
    eyes[CUBE_QUADS[0]] = True
    result = subdivided(solid(CUBE, CUBE_QUADS, {"eyes": eyes}))
    assert len(result.quads) == 1 + 5 * 4
    points = result.template.numpy()
    assert np.allclose(points[CUBE_QUADS[0]], CUBE[CUBE_QUADS[0]])
    on_face = np.abs(points[:, 0] + 1) < 1e-6
    assert on_face.sum() == 8  # the kept face's corners and the middles of its edges: no gap opens


def test_the_skin_alone_is_split(fine: HeadModel) -> None:
    head = load()
    kept = torch.stack([head.regions[name] for name in KEPT]).any(0)
    count = head.vertex_count
    assert 17_000 < fine.vertex_count < 22_000
    assert torch.equal(fine.template[:count][kept], head.template[kept])
    assert not torch.stack([fine.regions[name] for name in KEPT]).any(0)[count:].any()
    assert torch.stack(list(fine.regions.values())).any(0).all()
    for name, mask in head.regions.items():
        assert torch.equal(fine.regions[name][:count], mask)
    moved = (fine.template[:count] - head.template).norm(dim=1)
    for name, most_mm in (("face", 1.0), ("eyelids", 0.6), ("lips", 0.8), ("scalp", 2.5)):
        assert moved[head.regions[name]].max() < most_mm / 1000


def test_one_operator_for_every_basis(rng: np.random.Generator) -> None:
    """Shaping and subdividing commute."""
    head = load()
    fine = subdivided(head)
    identity = torch.from_numpy(rng.normal(0, 1, head.identity_size).astype(np.float32))
    expression = torch.from_numpy(rng.uniform(0, 1, (1, len(ARKIT_NAMES))).astype(np.float32))
    offset = torch.from_numpy(rng.normal(0, 0.002, head.template.shape).astype(np.float32))
    shape = offset + torch.tensordot(identity, head.identity_basis, 1)
    shape = shape + torch.tensordot(expression[0], head.expression_basis, 1)
    wanted = subdivided(head.with_offset(shape)).template
    moved = subdivided(head.with_offset(offset))
    mine = moved.template + torch.tensordot(identity, fine.identity_basis, 1)
    mine = mine + torch.tensordot(expression[0], fine.expression_basis, 1)
    assert torch.allclose(mine, wanted, atol=2e-6)
    assert torch.equal(moved.joint_positions(identity), head.joint_positions(identity))
    more = torch.from_numpy(rng.normal(0, 0.002, fine.template.shape).astype(np.float32))
    neutral = torch.zeros(1, len(ARKIT_NAMES))
    both = fine.with_offset(more).vertices(identity, neutral) - fine.vertices(identity, neutral)
    assert torch.allclose(both[0][fine.regions["scalp"]], more[fine.regions["scalp"]], atol=1e-5)


def assert_landmarks_stay(head: HeadModel, fine: HeadModel, rng: np.random.Generator, median_mm: float) -> None:
    identity = torch.from_numpy(rng.normal(0, 0.5, head.identity_size).astype(np.float32))
    expression = torch.zeros(1, len(ARKIT_NAMES))
    expression[0, rng.integers(0, len(ARKIT_NAMES), 3)] = 0.7
    neck, eyes = (torch.from_numpy(rng.normal(0, 0.2, (1, size)).astype(np.float32)) for size in (3, 6))
    points = [m.landmark_points(m.vertices(identity, expression, neck, None, eyes))[0] for m in (head, fine)]
    away_mm = (points[0] - points[1]).norm(dim=1) * 1000
    assert away_mm.median() < median_mm
    assert away_mm.max() < 3
    irises = list(landmarks.IRIS_LEFT + landmarks.IRIS_RIGHT)
    assert away_mm[irises].max() < 0.01


def test_landmarks_stay(fine: HeadModel, rng: np.random.Generator) -> None:
    assert_landmarks_stay(load(), fine, rng, 0.15)


def assert_sound(head: HeadModel, fine: HeadModel) -> None:
    """What holds for any head: closed where it was, mirror images of mirror images, UVs without crossing seams."""
    assert torch.equal(fine.mirror[fine.mirror], torch.arange(fine.vertex_count))
    edges = torch.cat([fine.faces[:, [0, 1]], fine.faces[:, [1, 2]], fine.faces[:, [2, 0]]])
    assert len(edges.unique(dim=0)) == len(edges)
    assert len(fine.faces.unique()) == fine.vertex_count
    assert (fine.weights >= 0).all() and torch.allclose(fine.weights.sum(1).max(), head.weights.sum(1).max())
    area = [uv_areas(mesh).sum() for mesh in (head, fine)]
    assert torch.allclose(area[0], area[1], rtol=1e-3)
    longest = [uv_edges(mesh).max() for mesh in (head, fine)]
    assert longest[1] <= longest[0] * 1.001


def uv_areas(head: HeadModel) -> torch.Tensor:
    corners = head.uvs[head.uv_faces].double()
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def uv_edges(head: HeadModel) -> torch.Tensor:
    corners = head.uvs[head.uv_faces]
    return (corners - corners.roll(1, 1)).norm(dim=-1)


def test_the_embedded_head_stays_sound(fine: HeadModel) -> None:
    head = load()
    assert_sound(head, fine)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(fine.template[fine.mirror] * flip, fine.template, atol=1e-4)
    assert (uv_areas(fine) > 0).float().mean() >= (uv_areas(head) > 0).float().mean() - 0.001


def test_a_closed_lid_still_hides_the_eyeball(fine: HeadModel) -> None:
    expression = torch.zeros(1, len(ARKIT_NAMES))
    expression[0, [ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")]] = 1
    points = fine.landmark_points(fine.vertices(torch.zeros(fine.identity_size), expression))[0]
    for pairs in (landmarks.LIDS_LEFT, landmarks.LIDS_RIGHT):
        assert all(points[upper, 1] - points[lower, 1] < 0.001 for upper, lower in pairs)


def test_a_head_of_triangles(flame_cache: added.Report, rng: np.random.Generator) -> None:
    head = load("flame")
    start = time.process_time()
    fine = subdivided(head)
    assert time.process_time() - start < 10
    assert (fine.quads[:, 2] == fine.quads[:, 3]).all()
    assert_sound(head, fine)
    assert_landmarks_stay(head, fine, rng, 0.3)
    expression = torch.zeros(1, len(ARKIT_NAMES))
    expression[0, ARKIT_NAMES.index("jawOpen")] = 1
    assert fine.jaw_turn(expression) is not None
    assert torch.equal(fine.jaw_turn(expression), head.jaw_turn(expression))
