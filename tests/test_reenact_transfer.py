"""Relative transfer: identities, compositions compared with scipy's, lids that stay closed."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_workspace import random_params

from headavatar.errors import InputError
from headavatar.reenact.motion import Motion, read_motion
from headavatar.reenact.transfer import smooth, transfer_absolute, transfer_relative
from headavatar.render.neutral import lid_closing, neutral_frame
from headavatar.scene import ARKIT_NAMES, HeadParams


def motion_of(params: HeadParams, name: str = "driver", interpupil_m: float = 0.063) -> Motion:
    return Motion(name, params, np.arange(len(params)) / 25, np.arange(len(params)), interpupil_m)


def with_recorded(rng: np.random.Generator, frames: int) -> HeadParams:
    """A motion that another tracker saw as well."""
    return replace(random_params(rng, frames), recorded=rng.normal(0, 0.3, (frames, 46)).astype(np.float32))


def rests(driver: HeadParams, target: HeadParams) -> tuple[HeadParams, HeadParams]:
    return driver[neutral_frame(driver)], target[neutral_frame(target)]


@pytest.mark.parametrize("range_gain", [False, True])
def test_a_driver_on_its_own_head_changes_nothing(rng: np.random.Generator, range_gain: bool) -> None:
    params = with_recorded(rng, 50)
    rest = params[neutral_frame(params)]
    driven = transfer_relative(motion_of(params), rest, params, rest, interpupil_m=0.063, range_gain=range_gain)
    for field in fields(HeadParams):
        np.testing.assert_allclose(
            getattr(driven, field.name), getattr(params, field.name), atol=2e-6, err_msg=field.name
        )


def test_rotations_are_composed_as_scipy_composes_them(rng: np.random.Generator) -> None:
    driver, target = random_params(rng, 30), random_params(rng, 40)
    driver = replace(driver, rotation=(driver.rotation * 3).astype(np.float32))  # large, where subtraction is wrong
    rest_d, rest_t = rests(driver, target)
    driven = transfer_relative(motion_of(driver), rest_d, target, rest_t, interpupil_m=0.063)
    for name, columns in (
        ("rotation", slice(None)),
        ("neck", slice(None)),
        ("jaw", slice(None)),
        ("eyes", slice(3, 6)),
    ):
        now, d, t = (Rotation.from_rotvec(getattr(p, name)[:, columns]) for p in (driver, rest_d, rest_t))
        wanted = t[0] * (d[0].inv() * now)
        got = Rotation.from_rotvec(getattr(driven, name)[:, columns])
        assert (wanted * got.inv()).magnitude().max() < 1e-5, name


def test_at_the_drivers_rest_the_target_rests(rng: np.random.Generator) -> None:
    driver, target = with_recorded(rng, 30), with_recorded(rng, 40)
    rest_d, rest_t = rests(driver, target)
    driven = transfer_relative(motion_of(driver), rest_d, target, rest_t, interpupil_m=0.06)
    at = neutral_frame(driver)
    for field in fields(HeadParams):
        if field.name != "identity":
            np.testing.assert_allclose(
                getattr(driven, field.name)[at], getattr(rest_t, field.name)[0], atol=2e-6, err_msg=field.name
            )
    assert driven.identity is target.identity
    alone = replace(driver, recorded=None)
    driven = transfer_relative(motion_of(alone), rest_d, target, rest_t, interpupil_m=0.06)
    assert driven.recorded is None, "nobody can say what the other tracker would have seen"


def test_closed_lids_close_whatever_each_ones_rest(rng: np.random.Generator) -> None:
    blink = [ARKIT_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    driver, target = random_params(rng, 120), random_params(rng, 120)
    for params, rest, closed in ((driver, 0.3, 0.85), (target, 0.05, 0.7)):
        params.expression[:, [i for i, name in enumerate(ARKIT_NAMES) if name.startswith("eye")]] = 0
        params.expression[:, blink] = rest
        params.expression[20:26, blink] = closed
    # the driver's blink comes with a squint, as trackers mix them; the lids still just meet
    driver.expression[20:26, ARKIT_NAMES.index("eyeSquintLeft")] = 0.5
    rest_d, rest_t = driver[60], target[60]
    driven = transfer_relative(motion_of(driver), rest_d, target, rest_t, interpupil_m=0.063)
    for side in ("Left", "Right"):
        np.testing.assert_allclose(lid_closing(driven.expression[[22, 60]], side), [0.7, 0.05], atol=0.01)
    # half closed stays half closed
    driver.expression[70, blink] = 0.575
    half = transfer_relative(motion_of(driver), rest_d, target, rest_t, interpupil_m=0.063).expression[70]
    assert half[blink[1]] == pytest.approx(0.375, abs=0.01)


def test_a_rest_with_closed_lids_is_still_the_rest(rng: np.random.Generator) -> None:
    driver, target = random_params(rng, 20), random_params(rng, 20)
    for side in ("Left", "Right"):
        for name, value in (("eyeBlink", 1.0), ("eyeSquint", 1.0), ("eyeLookDown", 1.0), ("eyeWide", 0.0)):
            driver.expression[3, ARKIT_NAMES.index(name + side)] = value
    rest = target[5]
    driven = transfer_relative(motion_of(driver), driver[3], target, rest, interpupil_m=0.063)
    np.testing.assert_allclose(driven.expression[3], rest.expression[0], atol=1e-5)


def test_translation_is_scaled_by_head_size_and_distance(rng: np.random.Generator) -> None:
    driver, target = random_params(rng, 30), random_params(rng, 30)
    rest_d, rest_t = rests(driver, target)
    args = {"interpupil_m": 0.0315, "range_gain": False}
    driven = transfer_relative(motion_of(driver), rest_d, target, rest_t, **args)
    step = driver.translation - rest_d.translation
    moved = driven.translation - rest_t.translation
    np.testing.assert_allclose(moved[:, :2], step[:, :2] * 0.5, atol=1e-6)
    np.testing.assert_allclose(moved[:, 2] / rest_t.translation[0, 2], step[:, 2] / rest_d.translation[0, 2], atol=1e-5)
    still = transfer_relative(motion_of(driver), rest_d, target, rest_t, movement=0.0, **args)
    np.testing.assert_allclose(still.translation, np.repeat(rest_t.translation, 30, axis=0))


def test_range_gain_reaches_the_targets_range(rng: np.random.Generator) -> None:
    jaw = ARKIT_NAMES.index("jawOpen")
    driver, target = random_params(rng, 100), random_params(rng, 100)
    driver.expression[:, jaw] = np.linspace(0, 0.4, 100)
    target.expression[:, jaw] = np.linspace(0, 0.8, 100)
    driven = transfer_relative(
        motion_of(driver), driver[0], target, target[0], interpupil_m=0.063, range_gain=True
    )  # fmt: skip
    np.testing.assert_allclose(driven.expression[:, jaw], np.linspace(0, 0.8, 100), atol=1e-5)


def test_absolute_keeps_the_drivers_numbers_and_the_targets_identity(rng: np.random.Generator) -> None:
    driver, target = random_params(rng, 10), random_params(rng, 10)
    driven = transfer_absolute(motion_of(driver), target)
    np.testing.assert_array_equal(driven.expression, driver.expression)
    np.testing.assert_array_equal(driven.identity, target.identity)


def test_smoothing_keeps_what_is_constant_and_calms_noise(rng: np.random.Generator) -> None:
    params = random_params(rng, 60)
    turn = rng.normal(0, 1, 3)
    turn *= rng.uniform(0.5, 3.0) / np.linalg.norm(turn)
    noisy = np.tile(turn, (60, 1)) + rng.normal(0, 0.01, (60, 3))
    params = replace(params, rotation=noisy.astype(np.float32), neck=np.tile(turn, (60, 1)).astype(np.float32))
    calm = smooth(params, 2.0)
    np.testing.assert_allclose(calm.neck, params.neck, atol=1e-5)
    before, after = np.diff(params.rotation, axis=0).std(), np.diff(calm.rotation, axis=0).std()
    assert after < before / 3
    assert smooth(params, 0.0) is params


def test_a_motion_file_comes_back_as_it_was(rng: np.random.Generator, tmp_path: Path) -> None:
    motion = motion_of(random_params(rng, 12), interpupil_m=0.0612)
    np.savez(tmp_path / "wave.npz", **motion.arrays())
    back = read_motion(tmp_path / "wave.npz")
    assert back.name == "wave" and back.interpupil_m == pytest.approx(0.0612)
    for field in fields(HeadParams):
        np.testing.assert_array_equal(getattr(back.params, field.name), getattr(motion.params, field.name))
    np.testing.assert_allclose(back.times_s, motion.times_s)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"rotation": np.zeros((3, 3))}, "no expressions"),
        ({"expression": np.zeros((3, 51))}, "(3, 52)"),
        ({"expression": np.full((3, 52), np.nan)}, "finite"),
        ({"expression": np.zeros((0, 52))}, "52"),
        ({"expression": np.zeros((3, 52)), "neck": np.zeros((2, 3))}, "neck"),
    ],
)
def test_a_motion_file_that_cannot_be_used_says_why(tmp_path: Path, arrays: dict, said: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError) as caught:
        read_motion(tmp_path / "bad.npz")
    assert said in str(caught.value)


def test_no_motion_file_and_no_npz(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_motion(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not a zip")
    with pytest.raises(InputError):
        read_motion(tmp_path / "text.npz")
