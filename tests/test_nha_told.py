"""What a texture is told of a frame, when what is fitted how fast, and what a picture of the mesh is compared with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import synthetic
import torch

from headavatar.methods import get
from headavatar.methods.neural_head_avatar import energies
from headavatar.methods.neural_head_avatar.conditions import Conditions, Teller, raw_conditions
from headavatar.methods.neural_head_avatar.stages import rate_at, stage_at, stages_of
from headavatar.scene import ARKIT_NAMES

SPEC = get("neural-head-avatar")
RATES = ("offset_lr", "volume_lr", "turning_lr", "map_lr", "network_lr")


def spoken(rng: np.random.Generator, **expressions: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Identity (S,) of a random person, and one frame's expression (1, E)."""
    head = synthetic.head()
    identity = torch.zeros(head.identity_size)
    identity[:20] = torch.from_numpy(rng.normal(0, 0.5, 20)).float()
    expression = torch.zeros(1, len(ARKIT_NAMES))
    for name, value in expressions.items():
        expression[0, ARKIT_NAMES.index(name)] = value
    return identity, expression


def test_conditions_never_leave_what_training_showed_by_much(rng: np.random.Generator) -> None:
    raw = torch.from_numpy(rng.normal(0, 1, (30, 6)) * rng.uniform(0.01, 10, 6) + rng.normal(0, 5, 6)).float()
    conditions = Conditions.of(raw, False)
    training = conditions(raw)
    torch.testing.assert_close(training.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(training.std(0, unbiased=False), torch.ones(6), atol=1e-4, rtol=0)
    wild = conditions(raw.mean(0) + 20 * torch.from_numpy(rng.random((50, 6)) - 0.5).float() * raw.std(0))
    assert (wild <= training.amax(0) + 0.1 + 1e-5).all() and (wild >= training.amin(0) - 0.1 - 1e-5).all()
    assert (wild > training.amax(0) + 0.09).any() and (wild < training.amin(0) - 0.09).any()
    ramp = conditions(torch.linspace(-9, 9, 400)[:, None] * raw.std(0) + raw.mean(0))
    assert (ramp.diff(dim=0) >= -1e-5).all()  # what says more never tells less
    again = Conditions.from_state(conditions.state(), False, "cpu")
    torch.testing.assert_close(again(raw), training)


def test_what_never_moved_in_training_says_nearly_nothing(rng: np.random.Generator) -> None:
    raw = torch.from_numpy(rng.normal(0, 1, (20, 2))).float()
    raw[:, 1] = 0.3
    told = Conditions.of(raw, False)(raw + torch.tensor([0.0, 0.7]))
    assert told[:, 1].abs().max() <= 0.1 + 1e-5


def test_lips_open_with_the_jaw_whatever_the_head_does(rng: np.random.Generator) -> None:
    head, still, person = synthetic.head(), torch.zeros(1, 3), int(rng.integers(1 << 30))
    amounts = np.sort(rng.uniform(0, 1, 4)) + np.arange(4) * 0.1
    rows = []
    for amount in amounts:
        identity, expression = spoken(np.random.default_rng(person), jawOpen=float(amount))
        rows.append(raw_conditions(head, identity, expression, still, still, False)[0])
    gaps = torch.stack(rows)
    assert gaps.shape[1] == 13 and (gaps[:, :7].diff(dim=0) > 0).all()  # the seven between the lips
    assert (gaps[:, 9].diff() > 0).all()  # and the mouth's height
    turn = torch.from_numpy(rng.normal(0, 1, (1, 3))).float()
    turned = raw_conditions(head, identity, expression, still, turn, False)[0]
    assert torch.equal(turned[:10], gaps[-1, :10]) and torch.equal(turned[10:13], turn[0])
    told = raw_conditions(head, identity, expression, still, turn, True)[0]
    assert torch.equal(told[:13], turned) and torch.equal(told[13:], expression[0])


def test_where_the_head_is_changes_no_lips(rng: np.random.Generator) -> None:
    params = synthetic.motion(12, rng)
    settings = SPEC.resolve("fast", {"texture": "siren", "condition": "mouth"})
    teller = Teller.of(synthetic.head(), params, settings, "cpu")
    moved = replace(params, translation=params.translation + rng.normal(0, 0.2, (12, 3)).astype(np.float32))
    here, there = teller(synthetic.head(), params, "cpu"), teller(synthetic.head(), moved, "cpu")
    assert here.shape == (12, teller.size) == (12, 13) and torch.equal(here, there)
    calm = teller.noisy(here, 0.0, torch.Generator())
    noise = teller.noisy(here, 0.1, torch.Generator().manual_seed(3)) - here
    assert torch.equal(calm, here) and 0.05 < noise.std() < 0.15


def test_stages_are_as_long_as_asked_and_follow_each_other(rng: np.random.Generator) -> None:
    lengths = [int(n) for n in rng.integers(0, 12, 3)]
    names = ("geometry_steps", "texture_steps", "joint_steps")
    settings = SPEC.resolve("fast", dict(zip(names, lengths, strict=True)) | {"perceptual_from": float(rng.random())})
    stages = stages_of(settings)
    assert sum(stage.steps for stage in stages) == sum(lengths) and all(stage.steps > 0 for stage in stages)
    wanted = [name for name, n in zip(("geometry", "texture", "joint"), lengths, strict=True) for _ in range(n)]
    assert [stage_at(stages, index)[0].name for index in range(sum(lengths))] == wanted
    at = 0
    for stage in stages:
        first, last = stage_at(stages, at), stage_at(stages, at + stage.steps - 1)
        assert first == (stage, 0.0) and last[0] is stage and last[1] == pytest.approx(1 - 1 / stage.steps)
        at += stage.steps
    if stages:
        assert stage_at(stages, at) == (stages[-1], 1.0)


def test_rates_fall_evenly_over_the_whole_joint_stage(rng: np.random.Generator) -> None:
    share, final = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.02, 0.9))
    settings = SPEC.resolve("fast", {"joint_steps": 1000, "perceptual_from": share, "final_lr": final})
    *_, before, after = stages = stages_of(settings)
    assert before.perceptual == 0 < after.perceptual and all(getattr(before, n) == getattr(after, n) for n in RATES)
    assert rate_at(before, 1.0) == pytest.approx(rate_at(after, 0.0))
    start = sum(stage.steps for stage in stages[:-2])
    falls = np.log([rate_at(*stage_at(stages, start + i)) for i in range(1000)])
    np.testing.assert_allclose(np.diff(falls), np.log(final) / 1000, rtol=0.05)
    for stage in stages[:-2]:
        assert (rate_at(stage, 0.0), rate_at(stage, 1.0)) == pytest.approx((1.0, final))


def test_only_what_counts_is_compared(rng: np.random.Generator) -> None:
    seen, truth = (torch.from_numpy(rng.random((2, 9, 8, 3))) for _ in range(2))
    counted = torch.from_numpy((rng.random((2, 9, 8)) < 0.4).astype(np.float64))
    counted[0, 0, 0] = 1
    expected = (seen - truth).abs().numpy()[counted.numpy() > 0].mean()
    assert float(energies.masked_l1(seen, truth, counted)) == pytest.approx(expected)
    spoiled = torch.where(counted[..., None] > 0, seen, torch.from_numpy(rng.random((2, 9, 8, 3))))
    assert energies.masked_l1(spoiled, truth, counted) == energies.masked_l1(seen, truth, counted)
    flat = energies.masked_l1(seen[..., 0], truth[..., 0], counted)
    assert float(flat) == pytest.approx((seen - truth).abs()[..., 0].numpy()[counted.numpy() > 0].mean())
    assert energies.masked_l1(seen, truth, counted * 0) == 0


def test_landmarks_cost_nothing_at_the_truth_and_no_more_in_a_larger_picture(rng: np.random.Generator) -> None:
    wanted = torch.from_numpy(rng.uniform(0, 100, (3, 40, 2)))
    assert energies.landmark_distance(wanted, wanted) == 0
    off = wanted + torch.from_numpy(rng.normal(0, 3, wanted.shape))
    once, twice = energies.landmark_distance(off, wanted), energies.landmark_distance(2 * off, 2 * wanted)
    assert 0 < float(once) == pytest.approx(float(twice))
    lost = wanted.clone()
    lost[1] = torch.nan
    kept = energies.landmark_distance(off[[0, 2]], wanted[[0, 2]])
    assert float(energies.landmark_distance(off, lost)) == pytest.approx(float(kept))
    leaf = off.clone().requires_grad_()
    energies.landmark_distance(leaf, torch.full_like(wanted, torch.nan)).backward()
    assert leaf.grad is not None and not leaf.grad.any()


def test_what_is_flat_has_no_wrinkles(rng: np.random.Generator) -> None:
    mask = torch.from_numpy((rng.random((1, 40, 30)) < 0.8).astype(np.float32))
    level = torch.from_numpy(rng.normal(0, 1, 3)).float()
    flat = energies.normal_laplacian(level.expand(1, 40, 30, 3), mask)
    assert flat.abs().max() < 1e-5
    normals = torch.from_numpy(rng.normal(0, 1, (1, 40, 30, 3))).float()
    wrinkled = energies.normal_laplacian(normals, mask)
    torch.testing.assert_close(energies.normal_laplacian(normals + level, mask), wrinkled, atol=1e-4, rtol=0)
    assert wrinkled[mask > 0].abs().mean() > 0.3 and not wrinkled[mask == 0].any()
    spoiled = torch.where(mask[..., None] > 0, normals, 7 * torch.ones(3))
    torch.testing.assert_close(energies.normal_laplacian(spoiled, mask), wrinkled)
