"""A head's matte ends where clothes begin, also where the parsing drew the border too wide."""

from __future__ import annotations

import cv2
import numpy as np

from headavatar.preprocess.clothes import without_clothes
from headavatar.scene import Array

SIDE = 256
SKIN, SHIRT = np.array([190.0, 140.0, 110.0]), np.array([45.0, 45.0, 60.0])


def neck(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Distances from a neckline, negative on the neck; the person's matte; and the neck's, two or three pixels wide."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    depth, width = rng.uniform(60, 120), rng.uniform(50, 70)
    distance = np.maximum(np.abs(x - SIDE / 2) - width, y - depth)  # a straight collar, sides and front
    distance = cv2.GaussianBlur(distance.astype(np.float32), (0, 0), 6.0)
    wide = np.clip(0.5 - (distance - rng.uniform(2, 3)) / 2, 0, 1).astype(np.float32)
    return distance, np.ones((SIDE, SIDE), np.float32), wide


def picture(alpha: Array, skin: Array, shirt: Array, rng: np.random.Generator) -> Array:
    """Shaded skin over a shirt, with a sensor's noise, uint8."""
    shade = 1 + 0.15 * np.linspace(-1, 1, SIDE)[None, :, None]
    image = alpha[..., None] * skin * shade + (1 - alpha[..., None]) * shirt + rng.normal(0, 2, (SIDE, SIDE, 3))
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def test_a_rim_of_the_shirt_is_no_head(rng: np.random.Generator) -> None:
    distance, person, wide = neck(rng)
    truth = np.clip(0.5 - distance, 0, 1)
    frame = picture(truth, SKIN, SHIRT, rng)
    head = without_clothes(frame, person, wide)
    assert (head <= wide).all()
    assert head[distance < -1.5].min() > 0.95  # skin stays to the border
    assert head[distance > 0.5].max() < 0.05  # and the shirt goes
    on_white = head[..., None] * frame + 255.0 * (1 - head[..., None])
    assert on_white.min() > 0.5 * SKIN.min()  # no dark rim


def test_hair_like_the_shirt_keeps_what_the_parsing_says(rng: np.random.Generator) -> None:
    distance, person, wide = neck(rng)
    frame = picture(np.clip(0.5 - distance, 0, 1), SHIRT + rng.uniform(-4, 4, 3), SHIRT, rng)
    assert np.abs(without_clothes(frame, person, wide) - wide).mean() < 1e-3


def test_a_head_without_clothes_is_left_alone(rng: np.random.Generator) -> None:
    distance, _, wide = neck(rng)
    frame = picture(np.clip(0.5 - distance, 0, 1), SKIN, np.array([250.0, 250.0, 250.0]), rng)
    assert np.array_equal(without_clothes(frame, wide, wide), wide)  # beyond it is the wall, not the person
