"""Where the eyes look, found by the irises in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from synthetic import head, make, motion

from headavatar.head.rotations import axis_angle_to_matrix
from headavatar.scene import ARKIT_NAMES
from headavatar.track.gaze import depth_inside, gaze_of, refine_gaze, steadied, with_gaze
from headavatar.track.landmark_fit import Motion, Person
from headavatar.track.landmark_model import LID_PAIRS
from headavatar.track.pictures import Pictures
from headavatar.track.shut_eyes import BLINK_S, blinks, lids_held, looking_on

FRAMES, SIZE = 24, 256
TRAIN = 18
LOOKS = [k for k, name in enumerate(ARKIT_NAMES) if name.startswith("eyeLook")]
BLINKS = [ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]
CLOSED = slice(10, 12)


@dataclass(frozen=True)
class Seen:
    """A clip whose heads are known, and whose gaze is believed to rest, at about the height that it really has."""

    person: Person
    motion: Motion
    true: torch.Tensor
    pictures: Pictures


@pytest.fixture(scope="module")
def seen() -> Seen:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    rng = np.random.default_rng(seed)
    params = motion(FRAMES, rng)
    params.expression[:, LOOKS + BLINKS] = 0
    params.expression[CLOSED, BLINKS[0]] = params.expression[CLOSED, BLINKS[1]] = 1
    sideways = rng.permutation([1, -1, 1, -1]) * rng.uniform(0.2, 0.4, 4)
    rests = np.stack([sideways, rng.uniform(-0.15, 0.25, 4)], 1)
    true = torch.from_numpy(np.repeat(rests, FRAMES // 4, 0)).float()
    params.expression[:] = with_gaze(head(), torch.from_numpy(params.expression), true).numpy()
    clip = make(FRAMES, SIZE, seed, params=params)
    expression = torch.from_numpy(params.expression).clone()
    rest = torch.stack([torch.zeros(FRAMES), true[:TRAIN, 1].median().expand(FRAMES)], 1)
    expression = with_gaze(head(), expression, rest)
    focal = float(clip.camera.K[0, 0])
    person = Person(torch.from_numpy(params.identity), torch.zeros(478, 3), focal)
    turned = axis_angle_to_matrix(torch.from_numpy(params.rotation))
    pictures = Pictures(
        clip.images, np.full(clip.images.shape[:3], 255, np.uint8), focal,
        torch.as_tensor(clip.camera.K[:2, 2], dtype=torch.float32), torch.from_numpy(clip.times_s),
    )  # fmt: skip
    return Seen(person, Motion(turned, torch.from_numpy(params.translation), expression), true, pictures)


def test_the_eyes_turn_to_where_the_irises_are(seen: Seen) -> None:
    train = torch.arange(FRAMES) < TRAIN
    found = refine_gaze(head(), seen.person, seen.motion, seen.pictures, train, seen.pictures.focal)
    difference = torch.rad2deg(gaze_of(head(), found.expression) - seen.true)
    before = torch.rad2deg(gaze_of(head(), seen.motion.expression) - seen.true)
    is_open = seen.motion.expression[:, BLINKS].amax(1) < 1
    before, difference = before[is_open], difference[is_open]
    print("degrees before and after", before.norm(dim=1).mean(), difference.norm(dim=1).mean())
    assert difference[:, 0].abs().mean() < 5
    assert difference.norm(dim=1).mean() < 0.5 * before.norm(dim=1).mean()
    others = [k for k in range(len(ARKIT_NAMES)) if k not in LOOKS]
    assert torch.equal(found.expression[:, others], seen.motion.expression[:, others])
    assert torch.equal(found.rotation, seen.motion.rotation) and torch.equal(found.translation, seen.motion.translation)
    assert found.expression.min() >= 0 and found.expression.max() <= 1


def test_pictures_without_eyes_change_nothing_much(seen: Seen) -> None:
    blank = Pictures(
        np.full_like(seen.pictures.images, 128), seen.pictures.trust, seen.pictures.focal, seen.pictures.center,
        seen.pictures.times_s,
    )  # fmt: skip
    believed = with_gaze(head(), seen.motion.expression, torch.full((FRAMES, 2), 0.1))
    motion = Motion(seen.motion.rotation, seen.motion.translation, believed)
    found = refine_gaze(head(), seen.person, motion, blank, torch.ones(FRAMES, dtype=torch.bool), blank.focal)
    assert torch.rad2deg(gaze_of(head(), found.expression) - 0.1 * torch.ones(2)).norm(dim=1).max() < 4


def test_gaze_is_written_within_the_limits() -> None:
    angles = torch.tensor([[0.3, 0.2], [-0.3, -0.2], [2.0, 2.0]])
    expression = with_gaze(head(), torch.zeros(3, len(ARKIT_NAMES)), angles)
    assert torch.allclose(gaze_of(head(), expression)[:2], angles[:2], atol=1e-6)
    assert expression.max() == 1 and expression.min() == 0


def test_shut_eyes_take_their_gaze_from_before_and_after_and_jumps_stay() -> None:
    times = np.arange(20) / 30
    angles = np.repeat([[0.0, 0.1], [0.4, -0.1]], 10, 0)
    information = np.full((20, 2), 1 / 0.03**2)
    angles[4:6], information[4:6] = 0.5, 1e-3
    found = steadied(angles, information, times)
    assert np.abs(found[4:6] - [0.0, 0.1]).max() < 0.03
    assert found[9, 0] < 0.06 and found[10, 0] > 0.34


def test_depth_inside_is_the_distance_to_the_edge() -> None:
    square = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]])
    points = torch.tensor([[2.0, 0.5], [2.0, 1.0], [5.0, 1.0], [2.0, 3.0]])
    expected = torch.tensor([0.5, 1.0, -1.0, -1.0])
    assert torch.allclose(depth_inside(points, square), expected)
    assert torch.allclose(depth_inside(points, square.flip(0)), expected)


def test_blinks_are_short(rng: np.random.Generator) -> None:
    times = np.cumsum(rng.uniform(0.02, 0.05, 200))
    shut = np.zeros(200, bool)
    shut[40 : 40 + int(rng.integers(1, 8))] = True  # at most .45 s
    shut[90:130] = True  # at least .8 s: looking down, or asleep
    shut[196:] = True
    wide = np.where(shut, rng.uniform(0, 0.45, 200), rng.uniform(0.8, 1, 200))
    found = blinks(shut, wide, times)
    assert (found == shut)[:90].all() and (found == shut)[130:].all() and not found[90:130].any()
    assert not blinks(np.ones(5, bool), wide[:5], times[:5]).any() and times[130] - times[89] > BLINK_S


def lids_apart(expression: torch.Tensor) -> torch.Tensor:
    """(T,) mean distance of upper and lower lids, metres."""
    points = head().landmark_model().points(torch.zeros(head().identity_size), expression)
    upper, lower = torch.tensor(LID_PAIRS).T
    return (points[:, upper] - points[:, lower]).norm(dim=-1).mean(1)


def test_eyes_that_look_down_for_a_moment_do_not_blink(rng: np.random.Generator) -> None:
    """Their lids hide the irises, and stay wider than those of a blink come somewhere."""
    times, shut = np.arange(60) / 30, np.zeros(60, bool)
    shut[10:20] = shut[40:50] = True
    wide = rng.uniform(0.8, 1, 60)
    wide[10:20] = rng.uniform(0.55, 0.7, 10)
    wide[40:50] = rng.uniform(0.55, 0.7, 10)
    wide[int(rng.integers(40, 50))] = 0.3
    assert np.array_equal(np.flatnonzero(blinks(shut, wide, times)), np.arange(40, 50))


def test_eyes_go_on_looking_through_a_blink_and_lids_stay_down(rng: np.random.Generator) -> None:
    """A blink that was half taken for a look down becomes a blink, and the lids hang where they hung."""
    model, count, blinking = head(), 12, np.zeros(12, bool)
    blinking[5:8] = True
    gaze = np.tile(rng.uniform(-0.15, 0.15, 2), (count, 1))
    times, known = np.arange(count) / 30, np.full((count, 2), 1 / 0.03**2)
    sunk = gaze + np.where(blinking[:, None], [0.0, 0.25], 0.0)
    angles, information = looking_on(sunk, known, blinking, times)
    angles = steadied(angles, information, times)
    assert np.abs(angles - gaze).max() < 1e-3
    half = torch.zeros(count, len(ARKIT_NAMES))
    half[5:8, BLINKS] = 0.5
    before = with_gaze(model, half, torch.from_numpy(sunk).float())
    after = with_gaze(model, half, torch.from_numpy(angles).float())
    held = lids_held(model, before, after, blinking)
    hung, up, stayed = (lids_apart(e)[6] for e in (before, after, held))
    assert abs(stayed - hung) < 0.25 * abs(up - hung)
    assert (held[5:8, BLINKS] > 0.5).all() and torch.equal(held[~torch.from_numpy(blinking)], after[~blinking])
    others = [k for k in range(len(ARKIT_NAMES)) if k not in BLINKS]
    assert torch.equal(held[:, others], after[:, others])
