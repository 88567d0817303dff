"""The neck bends under a head that turns over a torso that does not, and leans where its outline says so."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import torch

from headavatar.head.model import JOINT_LIMITS_RAD
from headavatar.head.rotations import axis_angle_to_matrix, axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.scene import PARSING_CLASSES, Array, HeadParams
from headavatar.track import neck
from headavatar.track.landmark_fit import Motion
from headavatar.track.settings import NeckWeights

SIZE = 160
FRAMES = 24
HAIR, BODY_SKIN, BACKGROUND = (PARSING_CLASSES.index(name) for name in ("hair", "body_skin", "background"))


def person(rng: np.random.Generator) -> HeadParams:
    identity = np.zeros(synthetic.head().identity_size, np.float32)
    identity[:30] = rng.normal(0, 0.5, 30)
    params = HeadParams.neutral(FRAMES, identity)
    params.translation[:] = (0, 0.02, -0.5)
    return params


def wave(rng: np.random.Generator, axes: tuple[float, float, float]) -> Array:
    """(T, 3) rotation that swings by so much about each axis, radians."""
    t = np.arange(FRAMES) / FRAMES
    return np.stack([a * np.sin(2 * np.pi * (t + rng.random())) for a in axes], 1)


def over_torso(skull: Array, torso: Array) -> Array:
    relative = np.swapaxes(axis_angle_to_matrix_np(torso), 1, 2) @ axis_angle_to_matrix_np(skull)
    return matrix_to_axis_angle_np(relative).astype(np.float32)


def tracked(clip: synthetic.SyntheticClip, parsing: Array | None = None) -> Array:
    """The neck (T, 3) that the clip's pictures give under the true motion."""
    p = clip.params
    turns = axis_angle_to_matrix(torch.from_numpy(p.rotation))
    motion = Motion(turns, torch.from_numpy(p.translation), torch.from_numpy(p.expression))
    focal = float(clip.camera.K[0, 0])
    unit = torch.full((FRAMES,), 0.01 * 0.09 * focal / 0.5)
    view = neck.Clip(
        clip.parsing if parsing is None else parsing, np.ones((SIZE, SIZE), bool), focal,
        torch.full((2,), SIZE / 2), torch.from_numpy(clip.times_s), unit, torch.ones(FRAMES, dtype=torch.bool),
    )  # fmt: skip
    return neck.estimate(synthetic.head(), torch.from_numpy(p.identity), motion, view, NeckWeights()).numpy()


def off_deg(found: Array, true: Array) -> float:
    relative = np.swapaxes(axis_angle_to_matrix_np(true), 1, 2) @ axis_angle_to_matrix_np(found)
    return float(np.degrees(np.linalg.norm(matrix_to_axis_angle_np(relative), axis=1)).mean())


def test_a_still_torso_stays_while_the_head_turns(rng: np.random.Generator) -> None:
    params = person(rng)
    params.rotation[:] = wave(rng, (0.15, 0.5, 0.1))
    params.neck[:] = over_torso(params.rotation, np.zeros((FRAMES, 3)))
    clip = synthetic.make(FRAMES, SIZE, params=params)
    found, rigid = off_deg(tracked(clip), params.neck), off_deg(np.zeros_like(params.neck), params.neck)
    print(found, rigid)
    assert found < 0.35 * rigid


def test_a_leaning_torso_is_seen_by_the_necks_outline(rng: np.random.Generator) -> None:
    """In the mean of eight people: how much a lean shows differs with how far it goes."""
    errors = []
    for _ in range(8):
        params = person(rng)
        torso = wave(rng, (0, 0, 0.15))
        params.neck[:] = over_torso(params.rotation, torso)
        clip = synthetic.make(FRAMES, SIZE, params=params)
        errors.append((off_deg(tracked(clip), params.neck), off_deg(np.zeros_like(params.neck), params.neck)))
    found, blind = np.mean(errors, 0)
    print(found, blind)
    assert found < 0.8 * blind


def test_a_neck_that_is_not_seen_bends_as_believed(rng: np.random.Generator) -> None:
    params = person(rng)
    params.rotation[:] = wave(rng, (0.1, 0.3, 0.1))
    clip = synthetic.make(FRAMES, SIZE, params=params)
    hidden = np.where(np.isin(clip.parsing, [BODY_SKIN, BACKGROUND]), np.uint8(HAIR), clip.parsing)
    middle = np.median(params.rotation, axis=0).repeat(FRAMES).reshape(3, FRAMES).T
    assert off_deg(tracked(clip, hidden), over_torso(params.rotation, middle)) < 0.1


def test_a_neck_keeps_to_its_limits(rng: np.random.Generator) -> None:
    params = person(rng)
    params.rotation[:] = wave(rng, (0, 1.4, 0))
    found = tracked(synthetic.make(FRAMES, SIZE, params=params))
    low, high = (np.asarray(limit, np.float32) for limit in JOINT_LIMITS_RAD["neck"])
    assert (found >= low - 1e-6).all() and (found <= high + 1e-6).all()
    assert np.abs(found[:, 1]).max() == pytest.approx(high[1], abs=1e-5)
