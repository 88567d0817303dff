"""Offsets as a smoothed latent."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headavatar.head import load
from headavatar.methods.neural_head_avatar.smoothing import Smoother, edges_of


def sheet(size: int) -> torch.Tensor:
    """(F, 3) triangles of a flat sheet of size x size vertices."""
    first = (torch.arange(size - 1)[:, None] * size + torch.arange(size - 1)).reshape(-1)
    lower = torch.stack([first, first + 1, first + size + 1], 1)
    return torch.cat([lower, torch.stack([first, first + size + 1, first + size], 1)])


def test_solves_its_equation(rng: np.random.Generator) -> None:
    faces, count, weight = sheet(6), 36, float(rng.uniform(0.5, 50))
    dense = np.eye(count)
    for a, b in edges_of(faces.numpy()):
        dense[[a, b], [a, b]] += weight
        dense[[a, b], [b, a]] -= weight
    rhs = torch.from_numpy(rng.normal(size=(count, 3)))
    assert np.allclose(Smoother(faces, count, weight).solve(rhs).numpy(), np.linalg.solve(dense, rhs.numpy()))


def test_gradient_is_that_of_finite_differences(rng: np.random.Generator) -> None:
    smoother = Smoother(sheet(4), 16, float(rng.uniform(0.5, 20)))
    rhs = torch.from_numpy(rng.normal(size=(16, 3))).requires_grad_()
    assert torch.autograd.gradcheck(smoother.solve, (rhs,))


def test_what_is_the_same_everywhere_stays_and_parts_stay_apart(rng: np.random.Generator) -> None:
    head = load()
    smoother = Smoother(head.faces, head.vertex_count, 30.0)
    shift = torch.from_numpy(rng.normal(size=(1, 3)).astype(np.float32)).expand(head.vertex_count, 3)
    assert torch.allclose(smoother.solve(shift), shift, atol=1e-5)
    eyes = head.regions["eyes"]
    assert smoother.solve(eyes[:, None].float())[~eyes].abs().max() < 1e-6


def test_a_peak_spreads_and_keeps_its_sum() -> None:
    size = 41
    peak = torch.zeros(size * size, 1)
    peak[size * (size // 2) + size // 2] = 1.0
    spread = [Smoother(sheet(size), size * size, weight).solve(peak) for weight in (0.0, 2.0, 20.0)]
    assert torch.allclose(spread[0], peak)
    assert spread[1].max() > 2 * spread[2].max()
    assert all(float(values.sum()) == pytest.approx(1, abs=1e-4) and values.min() >= 0 for values in spread)


def test_unsolve_is_the_way_back(rng: np.random.Generator) -> None:
    smoother = Smoother(sheet(7), 49, 19.0)
    values = torch.from_numpy(rng.normal(size=(49, 3)).astype(np.float32))
    assert torch.allclose(smoother.solve(smoother.unsolve(values)), values, atol=1e-5)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="sharpen"):
        Smoother(sheet(3), 9, -1.0)
