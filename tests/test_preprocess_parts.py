"""The parts of preprocess on made-up pictures: crop, verdicts, steadiness, head cut-out, edges, plate, normals."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from headavatar.preprocess import crop, masks, verdict
from headavatar.preprocess.background import clean_plate
from headavatar.preprocess.landmarks import Faces, face_sharpness, follow_subject
from headavatar.preprocess.normals import face_normals
from headavatar.preprocess.steady import steadied
from headavatar.scene import Array
from headavatar.workspace import atomic

SIZE = 128


def face_at(x: float, y: float, height: float) -> Array:
    """478 points on an ellipsoid's front, roughly as a face has them."""
    golden = np.arange(478) * 2.399963
    radius = np.sqrt((np.arange(478) + 0.5) / 478)
    u, v = radius * np.cos(golden), radius * np.sin(golden)
    depth = -np.sqrt(np.maximum(1 - u**2 - v**2, 0))
    return np.stack([x + 0.4 * height * u, y + 0.5 * height * v, 0.4 * height * depth], -1).astype(np.float32)


def faces(*frames: list[tuple[float, float, float]]) -> Faces:
    """Faces (x, y, height) of each frame, at most two."""
    points = np.full((len(frames), 2, 478, 3), np.nan, np.float32)
    for i, found in enumerate(frames):
        for k, where in enumerate(found):
            points[i, k] = face_at(*where)
    empty = np.zeros(len(frames))
    return Faces(points, points[..., 0], points[..., 0], points[..., 0, 0], empty)


def test_crop_holds_the_head_and_stays_inside(rng: np.random.Generator) -> None:
    centers = rng.uniform((300, 220), (420, 260), size=(50, 2))
    points = np.stack([face_at(x, y, 160) for x, y in centers])
    square = crop.choose(points, SIZE, (720, 480))
    assert square.x >= 0 and square.y >= 0 and square.x + square.side <= 720 and square.y + square.side <= 480
    inside = square.points(points)
    assert inside[..., :2].min() > 0 and inside[..., :2].max() < SIZE
    above_px = (points[..., 1].min() - square.y) / 160
    assert above_px > 0.25  # room for hair
    back = inside[..., :2] * square.side / SIZE + (square.x, square.y)
    assert np.allclose(back, points[..., :2], atol=1e-2) and square.valid(720, 480).all()


def test_crop_of_a_narrow_picture_is_padded() -> None:
    square = crop.choose(face_at(70, 200, 160)[None], SIZE, (140, 480))
    valid = square.valid(140, 480)
    assert square.side > 140 and 0 < valid.mean() < 1
    assert abs(valid.any(0).sum() - 140 * SIZE / square.side) <= 3  # a pixel less on either side


def test_subject_is_followed_when_others_come_and_go() -> None:
    frames = [[(100.0, 100.0, 80.0)]] * 10 + [[(300.0, 100.0, 85.0), (102.0, 100.0, 80.0)]] * 2 + [[]]
    frames += [[(100.0, 100.0, 80.0), (300.0, 90.0, 20.0)], [(100.0, 100.0, 80.0), (103.0, 101.0, 78.0)]]
    which, comparable = follow_subject(faces(*frames))
    assert list(which) == [0] * 10 + [1, 1, -1, 0, 0]
    assert list(comparable) == [1] * 10 + [2, 2, 0, 1, 1]  # small faces and the same face twice don't count


def test_verdicts() -> None:
    points = np.stack([face_at(100, 100, 80)] * 4 + [face_at(10, 100, 80), np.full((478, 3), np.nan)])
    sharpness = np.array([1.0, 1.1, 0.1, 0.9, 1.0, np.nan])
    comparable = np.array([1, 2, 1, 1, 1, 0])
    reasons = verdict.judge(points, comparable, sharpness, crop.Crop(0, 0, 200, SIZE), (200, 200))
    assert reasons == ["", "two_faces", "blurred", "", "cut_off", "no_face"]
    words = verdict.summarize(reasons)
    assert words.startswith("2 of 6 frames") and all(verdict.REASONS[reason] in words for reason in reasons if reason)


def test_blur_lowers_sharpness_and_contrast_does_not(rng: np.random.Generator) -> None:
    picture = cv2.GaussianBlur(rng.integers(0, 255, (200, 200, 3), dtype=np.uint8), (0, 0), 1.0)
    points = face_at(100, 100, 120)
    sharp = face_sharpness(picture, points)
    assert face_sharpness(cv2.GaussianBlur(picture, (0, 0), 4), points) < 0.5 * sharp
    assert face_sharpness((picture // 2 + 60).astype(np.uint8), points) == pytest.approx(sharp, rel=0.15)


def test_still_parts_are_averaged_and_moving_ones_kept(rng: np.random.Generator) -> None:
    still = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    frames = [still.copy() for _ in range(5)]
    for j in (0, 1, 3, 4):
        frames[j][:, SIZE // 2 :] = 255 - still[:, SIZE // 2 :]
    flicker = [np.full((SIZE, SIZE), 255 * (j == 2), np.uint8) for j in range(5)]
    (mask,) = steadied(frames, [flicker], 2)
    assert np.abs(mask[:, : SIZE // 2 - 12] - 0.2).max() < 1e-3
    assert mask[:, SIZE // 2 + 12 :].mean() > 0.95


def parsed(*parts: tuple[str, slice, slice]) -> Array:
    probabilities = np.full((SIZE, SIZE, 6), 0.02, np.float32)
    probabilities[..., 0] = 0.9
    for name, rows, columns in parts:
        probabilities[rows, columns] = 0.02
        probabilities[rows, columns, masks.PARSING_CLASSES.index(name)] = 0.9
    return probabilities


def test_head_is_cut_from_clothes_also_unnamed_ones() -> None:
    points = face_at(64, 50, 60)
    matte = np.zeros((SIZE, SIZE), np.float32)
    matte[10:110, 34:94] = 1
    matte[95:, :] = 1  # shoulders
    named = parsed(("hair", slice(10, 30), slice(34, 94)), ("face_skin", slice(30, 80), slice(34, 94)),
                   ("body_skin", slice(80, 95), slice(50, 78)), ("clothes", slice(95, 128), slice(34, 94)))  # fmt: skip
    head = masks.head_matte(matte, masks.head_share(named, matte, points), points)
    assert head[15:90, 55:70].min() > 0.95
    assert head[100:, :].max() < 0.02  # clothes, and the shoulders that the parsing calls background


def test_hands_beside_the_head_are_dropped() -> None:
    points = face_at(64, 50, 60)
    matte = np.zeros((SIZE, SIZE), np.float32)
    matte[10:90, 40:88] = 1
    matte[90:120, 2:20] = 1
    head = masks.head_matte(matte, np.ones((SIZE, SIZE), np.float32), points)
    assert head[20:80, 45:80].min() == 1 and head[:, :25].max() == 0


def test_clean_plate(tmp_path: Path, rng: np.random.Generator) -> None:
    wall = cv2.GaussianBlur(rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8), (0, 0), 3)
    valid = np.ones((SIZE, SIZE), bool)
    for moving in (False, True):
        folder = tmp_path / str(moving)
        for i in range(12):
            left = 10 + 5 * i
            frame = np.roll(wall, 9 * i, axis=1) if moving else wall.copy()
            frame[40:, left : left + 40] = rng.integers(0, 255, 3)
            matte = np.zeros((SIZE, SIZE), np.uint8)
            matte[40:, left : left + 40] = 255
            atomic.write_image(folder / "crops" / f"{i:06d}.png", frame)
            atomic.write_image(folder / "raw_mattes" / f"{i:06d}.png", matte)
        plate = clean_plate(folder, 12, valid)
        if moving:
            assert plate is None
        else:
            assert plate is not None and plate.seen.mean() > 0.8
            assert np.array_equal(plate.image[plate.seen], wall[plate.seen])


def test_normals_of_a_leaning_plane(rng: np.random.Generator) -> None:
    pytest.importorskip("mediapipe")
    from headavatar.preprocess.normals import face_triangles

    triangles = face_triangles()
    assert triangles.shape == (852, 3) and triangles.max() == 467
    points = np.zeros((478, 3), np.float32)
    # every landmark on a plane that leans right: its normal is the same everywhere
    points[:, :2] = rng.uniform(20, 108, (478, 2))
    points[:, 2] = -0.5 * points[:, 0]
    picture = face_normals(points, SIZE)
    drawn = picture.any(-1)
    normal = picture[drawn] / 127.5 - 1
    expected = np.array([-0.5, 0, 1]) / np.hypot(0.5, 1)
    aligned = np.abs(normal @ expected)
    assert drawn.mean() > 0.2 and np.median(aligned) > 0.98
