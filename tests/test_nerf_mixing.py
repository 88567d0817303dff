"""Fewer tables than expressions, mixed by a learned matrix."""

from __future__ import annotations

import numpy as np
import small_fit
import torch

from headavatar import ops
from headavatar.methods.nerf_blendshape.mixing import LR, Mixing, shared


def coefficients(generator: torch.Generator, frames: int, count: int) -> torch.Tensor:
    """(frames, count), the first one 1."""
    values = torch.rand(frames, count, generator=generator)
    values[:, 0] = 1.0
    return values


def test_a_table_for_each_coefficient_says_the_same_as_the_shared_ones(generator: torch.Generator) -> None:
    given, tables = coefficients(generator, 30, 11), torch.randn(5, 200, generator=generator)
    mixing = Mixing(given, 5)
    weights = mixing.weights(given)
    torch.testing.assert_close(given @ mixing.unmixed(tables), weights @ tables, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(weights[:, 0], torch.ones(30))
    assert abs(float(weights[:, 1:].abs().max()) - 1) < 1e-4
    sizes = weights[:, 1:].std(0)
    assert (sizes[:-1] > sizes[1:]).all(), "what varies less weighs less"


def test_enough_tables_lose_nothing(generator: torch.Generator) -> None:
    few = torch.randn(40, 3, generator=generator) @ torch.randn(3, 10, generator=generator)
    few[:, 0] = 1.0
    weights = Mixing(few, 5).weights(few)
    back = torch.linalg.lstsq(weights.double(), few.double()).solution
    torch.testing.assert_close(weights.double() @ back, few.double(), rtol=1e-3, atol=1e-3)


def test_the_matrix_goes_down_the_slope_and_leaves_the_neutral_table(generator: torch.Generator) -> None:
    given, tables = coefficients(generator, 4, 9), torch.randn(5, 60, generator=generator)
    target = torch.randn(4, 60, generator=generator)
    mixing = Mixing(coefficients(generator, 30, 9), 5)
    before = mixing.matrix.detach().clone()
    free = before.clone().requires_grad_()
    blended = given @ free @ tables
    blended.retain_grad()
    ((blended - target) ** 2).sum().backward()
    mixing.step(given, blended.grad, tables, 0.5)
    moved = mixing.matrix.detach() - before
    torch.testing.assert_close(moved[:, 1:], -0.5 * LR * free.grad[:, 1:].sign(), rtol=1e-2, atol=1e-6)
    assert not moved[:, 0].any()


def test_a_fit_of_few_tables_resumes_and_keeps_every_handle(seed: int) -> None:
    clip = small_fit.clip_of(small_fit.rendered())
    straight = small_fit.trainer_of(clip, seed, steps=16, mixing=3)
    assert len(straight.field.tables) == 3
    start = straight.mixing.matrix.detach().clone()
    for index in range(16):
        straight.step(index)
    assert not torch.equal(start, straight.mixing.matrix)
    first, second = (small_fit.trainer_of(clip, seed, steps=16, mixing=3) for _ in range(2))
    for index in range(7):
        first.step(index)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    for index in range(7, 16):
        second.step(index)
    assert all(torch.equal(value, second.state()[name]) for name, value in straight.state().items())
    avatar = straight.avatar()
    assert len(avatar.field.tables) == len(avatar.conditioning.names)
    shown = torch.from_numpy(avatar.conditioning.coefficients(clip.params[3]))
    blended = ops.blend_tables(shown, avatar.field.tables)
    wanted = straight.mixing.weights(shown) @ straight.field.tables
    np.testing.assert_allclose(blended.numpy(), wanted.numpy(), atol=1e-5)


def test_mixed_tables_are_found_to_span_few(rng: np.random.Generator) -> None:
    few, many = int(rng.integers(2, 9)), int(rng.integers(20, 40))
    tables = torch.from_numpy(rng.normal(size=(few, 70_001)) * rng.uniform(0.05, 2.0, (few, 1))).float()
    mixed = torch.from_numpy(rng.normal(size=(many, few))).float() @ tables
    found = shared(mixed)
    assert found is not None and found[1].shape == tables.shape
    coefficients = torch.from_numpy(rng.uniform(-1, 1, (1, many))).float()
    assert float((coefficients @ found[0] @ found[1] - coefficients @ mixed).abs().max()) < 1e-4 * float(
        mixed.abs().max()
    )
    assert shared(mixed + 1e-3 * torch.from_numpy(rng.normal(size=mixed.shape)).float()) is None
    assert shared(tables) is None
