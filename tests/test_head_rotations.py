"""Axis-angle and matrices, there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headavatar.head import rotations


@pytest.fixture
def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 0.9e-4, 1.1e-4, 1e-3, 0.5, 2.0, 3.1, math.pi - 1e-6])
def test_round_trip(angle: float, random: torch.Generator) -> None:
    axis = torch.nn.functional.normalize(torch.randn(200, 3, generator=random, dtype=torch.float64), dim=-1)
    vector = angle * axis
    matrix = rotations.axis_angle_to_matrix(vector)
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(matrix @ matrix.transpose(-1, -2), eye.expand_as(matrix), atol=1e-10)
    assert torch.allclose(torch.linalg.det(matrix), torch.ones(200, dtype=torch.float64))
    assert torch.allclose(rotations.matrix_to_axis_angle(matrix), vector, atol=1e-7)


def test_turns_the_right_way() -> None:
    turn = rotations.axis_angle_to_matrix(torch.tensor([0.0, math.pi / 2, 0.0]))
    assert torch.allclose(turn @ torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)


def test_matches_the_exponential(random: torch.Generator) -> None:
    vector = torch.randn(50, 3, generator=random, dtype=torch.float64)
    x, y, z = vector.unbind(-1)
    o = torch.zeros_like(x)
    cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(-1, 3, 3)
    assert torch.allclose(rotations.axis_angle_to_matrix(vector), torch.linalg.matrix_exp(cross), atol=1e-10)


def test_half_turns() -> None:
    for axis in np.eye(3):
        vector = rotations.matrix_to_axis_angle_np(rotations.axis_angle_to_matrix_np(math.pi * axis))
        assert np.allclose(np.abs(vector), math.pi * axis, atol=1e-6)


def test_gradients(random: torch.Generator) -> None:
    vector = torch.randn(10, 3, generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotations.axis_angle_to_matrix, vector)

    def there_and_back(v: torch.Tensor) -> torch.Tensor:
        return rotations.matrix_to_axis_angle(rotations.axis_angle_to_matrix(v))

    small = (0.5 * vector).detach().requires_grad_()
    assert torch.autograd.gradcheck(there_and_back, small)
    zero = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    there_and_back(zero).sum().backward()
    assert zero.grad is not None
    assert torch.allclose(zero.grad, torch.ones_like(zero))


def test_single_precision_keeps_its_digits(random: torch.Generator) -> None:
    vector = 0.01 * torch.randn(1000, 3, generator=random)
    exact = rotations.axis_angle_to_matrix(vector.double())
    assert (rotations.axis_angle_to_matrix(vector).double() - exact).abs().max() < 2e-7
    back = rotations.matrix_to_axis_angle(rotations.axis_angle_to_matrix(vector))
    assert (back - vector).abs().max() < 2e-6


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.5, 3.1])
def test_plain_numbers_say_the_same(angle: float, random: torch.Generator) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(2, 3, generator=random, dtype=torch.float64), dim=-1) * angle
    first, second = rotations.axis_angle_to_matrix(vectors)
    turned = [rotations.turn_of(*vector) for vector in vectors.tolist()]
    assert torch.allclose(torch.tensor(turned[0], dtype=torch.float64).view(3, 3), first, atol=1e-12)
    both = torch.tensor(rotations.turned_after(*turned), dtype=torch.float64)
    assert torch.allclose(both.view(3, 3), first @ second, atol=1e-12)
    moved = torch.tensor(rotations.turned_after(turned[0], vectors[1].tolist()), dtype=torch.float64)
    assert torch.allclose(moved, first @ vectors[1], atol=1e-12)
