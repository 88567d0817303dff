"""The matte's rim: what is known of it is found again, without holes, weave or flicker."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import ffmpeg

from headavatar.preprocess import decode
from headavatar.preprocess.background import Plate
from headavatar.preprocess.edges import refine
from headavatar.preprocess.steady import steadied
from headavatar.scene import Array
from headavatar.workspace import atomic

SIZE = 256
WALL, HAIR = np.array([40.0, 110.0, 250.0]), np.array([90.0, 60.0, 40.0])


def disc(side: int = SIZE, radius: float = 80.0) -> Array:
    """Distance of pixels from a disc's rim, negative inside."""
    y, x = np.mgrid[:side, :side] + 0.5
    return np.asarray(np.hypot(x - side / 2, y - side / 2) - radius)


def mixed(alpha: Array, hair: Array, wall: Array, rng: np.random.Generator) -> Array:
    """A picture with a sensor's noise, uint8."""
    picture = alpha[..., None] * hair + (1 - alpha[..., None]) * wall + rng.normal(0, 1.5, (*alpha.shape, 3))
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("with_plate", [True, False])
def test_edge_loses_the_background(with_plate: bool, rng: np.random.Generator) -> None:
    distance = disc(radius=rng.uniform(60, 100))
    truth = np.clip(0.5 - distance / 4, 0, 1)
    frame = mixed(truth, HAIR, WALL, rng)
    wide = np.clip(0.5 - (distance - 2) / 5, 0, 1).astype(np.float32)  # two pixels too wide, as networks draw it
    plate = Plate(np.full((SIZE, SIZE, 3), WALL, np.uint8), np.ones((SIZE, SIZE), bool)) if with_plate else None
    alpha, clean = refine(frame, wide, plate)
    assert np.abs(alpha - truth).mean() < 0.35 * np.abs(wide - truth).mean()
    seen = alpha > 0.2
    assert np.abs(clean[seen] - HAIR).mean(0).max() < 6  # hair's own color up to the edge
    assert np.array_equal(clean[distance > 20], frame[distance > 20])


@pytest.mark.parametrize("with_plate", [True, False])
def test_lit_hair_keeps_no_holes(with_plate: bool, rng: np.random.Generator) -> None:
    distance = disc()
    truth = np.clip(0.5 - distance / 2, 0, 1)
    gray = np.full((SIZE, SIZE, 3), rng.uniform(190, 220)) + rng.normal(0, 4, 3)
    strands = cv2.GaussianBlur(rng.normal(0, 1, (SIZE, SIZE)), (0, 0), 1.0)
    lit = np.clip(strands / strands.std(), 0, 1)[..., None] * (distance > -12)[..., None]  # up to the wall's own color
    frame = mixed(truth, lit * gray + (1 - lit) * HAIR, gray, rng)
    network = np.clip(0.5 - distance / 3, 0, 1).astype(np.float32)
    plate = Plate(gray.round().astype(np.uint8), np.ones((SIZE, SIZE), bool)) if with_plate else None
    alpha, _ = refine(frame, network, plate)
    assert alpha[distance < -4.5].min() > 0.9
    assert alpha[distance > 4.5].max() < 0.1


def test_rim_of_a_compressed_video_has_no_weave(tmp_path: Path, rng: np.random.Generator) -> None:
    side, size = 288, 512
    x = np.arange(side)[None, :] + 0.5 - side / 2
    tilt = rng.uniform(-0.2, 0.2) * (np.arange(side)[:, None] + 0.5 - side / 2)
    frame = mixed(np.clip(0.5 - (x + tilt) / 6, 0, 1), HAIR, WALL, rng)
    atomic.write_image(tmp_path / "edge.png", frame)
    film = tmp_path / "edge.mp4"
    ffmpeg("-loop", "1", "-i", tmp_path / "edge.png", "-frames:v", "2", "-pix_fmt", "yuv420p", "-crf", "10", film)
    info = decode.probe(film)
    _, crop = next(iter(decode.read_frames(film, info, decode.Selection(), (size, size), (0, 0, side))))
    far = cv2.resize((x + tilt).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    alpha, _ = refine(crop, np.clip(0.5 - (far - 1) / 8, 0, 1), None)
    bend = np.abs(alpha[:, 2:] - 2 * alpha[:, 1:-1] + alpha[:, :-2])
    assert bend[(alpha[:, 1:-1] > 0.05) & (alpha[:, 1:-1] < 0.95)].mean() < 0.02


def test_a_still_picture_does_not_flicker(rng: np.random.Generator) -> None:
    distance = disc()
    truth = np.clip(0.5 - distance / 4, 0, 1)
    frames = [mixed(truth, HAIR, WALL, rng) for _ in range(6)]
    shifts = rng.normal(0, 0.5, 6)  # the network's edge trembles
    networks = [np.clip(0.5 - (distance - 1 - shift) / 5, 0, 1) for shift in shifts]
    masks = [[np.round(255 * network).astype(np.uint8) for network in networks]]
    rim = np.abs(distance) < 6

    def at(center: int) -> Array:
        near = slice(center - 2, center + 3)
        (matte,) = steadied(frames[near], [masks[0][near]], 2)
        return refine(frames[center], matte, None)[0]

    assert np.abs(at(2) - at(3))[rim].mean() < 0.01
