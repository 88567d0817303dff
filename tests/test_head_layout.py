"""The head's landmarks and its texture layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headavatar.head import landmarks, load
from headavatar.head.model import HeadModel


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load()


def test_landmarks_lie_on_triangles(head: HeadModel) -> None:
    assert head.landmark_faces.shape == (478,) and head.landmark_bary.shape == (478, 3)
    assert (head.landmark_bary >= -1e-6).all()
    assert torch.allclose(head.landmark_bary.sum(1), torch.ones(478), atol=1e-5)


def test_landmarks_mirror_each_other(head: HeadModel) -> None:
    found = head.landmark_points(head.template[None])[0]
    flip = torch.tensor([-1.0, 1.0, 1.0])
    pairs = list(zip(landmarks.EYE_RIGHT, landmarks.EYE_LEFT, strict=True))
    pairs += list(zip(landmarks.BROW_RIGHT, landmarks.BROW_LEFT, strict=True))
    pairs += [(468, 473), (469, 476), (470, 475), (471, 474), (472, 477), (61, 291), (78, 308), (234, 454)]
    for right, left in pairs:
        assert found[right, 0] < 0 < found[left, 0]
        assert torch.allclose(found[right] * flip, found[left], atol=1e-4), (right, left)
    for middle in (13, 14, 0, 17, landmarks.NOSE_TIP, landmarks.CHIN, 10, 168):
        assert abs(found[middle, 0]) < 1e-4, middle


def test_landmarks_lie_on_their_features(head: HeadModel) -> None:
    def share(indices: tuple[int, ...], region: str) -> float:
        corners = head.faces[head.landmark_faces[list(indices)]]
        return float(head.regions[region][corners].any(1).float().mean())

    assert share(landmarks.LIPS, "lips") > 0.95
    assert share(landmarks.EYES, "eyelids") > 0.95
    assert share(landmarks.IRISES, "iris") == 1.0
    hidden = head.regions["mouth_interior"] | head.regions["teeth"] | head.regions["tongue"]
    corners = head.faces[head.landmark_faces]
    assert not hidden[corners].all(1).any()
    found = head.landmark_points(head.template[None])[0].numpy()
    # Down the middle of the face everything comes in its order: forehead, nose, lips, chin.
    column = found[[10, 168, 1, 2, 0, 14, 17, 152], 1]
    assert (np.diff(column) < 0).all()
    # Iris rings: right, top, left, bottom as a picture shows them, 11.7 mm across.
    for center, right, top, left, bottom in (landmarks.IRIS_RIGHT, landmarks.IRIS_LEFT):
        assert found[right, 0] > found[center, 0] > found[left, 0]
        assert found[top, 1] > found[center, 1] > found[bottom, 1]
        assert np.linalg.norm(found[right] - found[left]) == pytest.approx(0.0117, abs=0.0008)


def test_lips_belong_to_their_own_jaw(head: HeadModel) -> None:
    """Upper points stay and lower ones fall when the jaw opens, although they touch at rest."""
    expression = torch.zeros(2, 52)
    expression[1, head.expression_names.index("jawOpen")] = 1.0
    rest, opened = head.landmark_points(head.vertices(torch.zeros(100), expression)).numpy()
    fall = rest[:, 1] - opened[:, 1]
    for lower, upper in zip(landmarks.LIPS_INNER[2:9], landmarks.LIPS_INNER[:11:-1][:7], strict=True):
        assert fall[lower] > fall[upper] + 0.004, (lower, upper)
    assert max(fall[list(landmarks.LIPS_OUTER[13:18])]) < 0.008 < min(fall[list(landmarks.LIPS_OUTER[3:8])])


def test_index_lists_are_consistent() -> None:
    assert len(set(landmarks.MEDIAPIPE_TO_68)) == 68
    assert len(set(landmarks.LIPS)) == 40 and len(set(landmarks.EYES)) == 32 and len(set(landmarks.OVAL)) == 36
    assert set(landmarks.EYE_OUTER_CORNERS) <= set(landmarks.EYES)
    assert max(landmarks.IRISES) == landmarks.COUNT - 1


def test_uvs_fill_the_atlas_without_overlap(head: HeadModel) -> None:
    assert head.uvs.min() >= 0 and head.uvs.max() <= 1
    assert (head.uv_faces.shape, head.uv_quads.shape) == (head.faces.shape, head.quads.shape)
    corners = head.uvs[head.uv_faces].double().numpy()
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * (edge[:, 0] * other[:, 1] - edge[:, 1] * other[:, 0])
    assert (area > 0).all()  # none is flipped or empty
    # No overlap: the triangles' areas add up to the area that they cover together.
    size = 600
    covered = np.zeros((size, size), bool)
    for triangle in corners * size:
        low = np.floor(triangle.min(0)).astype(int)
        high = np.minimum(np.ceil(triangle.max(0)).astype(int) + 1, size)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        inside = np.ones(x.shape, bool)
        for k in range(3):
            (ax, ay), (bx, by) = triangle[k], triangle[(k + 1) % 3]
            inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0
        covered[low[1] : high[1], low[0] : high[0]] |= inside
    assert covered.mean() == pytest.approx(area.sum(), rel=0.005)
    assert area.sum() > 0.7
    face = head.regions["face"].numpy()[head.faces.numpy()].all(1)
    assert area[face].sum() > 0.3


def test_uv_faces_cut_the_same_triangles(head: HeadModel) -> None:
    # A texture vertex belongs to one vertex of the head.
    owner = torch.full((len(head.uvs),), -1)
    owner[head.uv_faces.reshape(-1)] = head.faces.reshape(-1)
    assert torch.equal(owner[head.uv_faces], head.faces)
