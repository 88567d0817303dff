"""How far the light of rays is spread along them, against the sum over all pairs of samples."""

from __future__ import annotations

import pytest
import torch
from test_ops_render import needs_native

from headavatar import ops


def rays(generator: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Optical depths, distances, lengths and offsets of rays of 0 to 8 samples."""
    offsets = torch.cat(
        (torch.zeros(1, dtype=torch.long), torch.randint(0, 9, (count,), generator=generator).cumsum(0))
    )
    deltas = torch.rand(int(offsets[-1]), generator=generator) * 0.1 + 1e-3
    optical = torch.rand(len(deltas), generator=generator) ** 3 * 4
    return optical, deltas.cumsum(0) - deltas / 2, deltas, offsets


def over_pairs(optical: torch.Tensor, distances: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
    """Equation 15 of one ray as it is printed."""
    light = torch.exp(-torch.cat((optical.new_zeros(1), optical.cumsum(0)[:-1])))
    weights = light * (1 - torch.exp(-optical))
    apart = (distances[:, None] - distances[None]).abs()
    return (weights[:, None] * weights[None] * apart).sum() + (weights**2 * deltas).sum() / 3


@pytest.mark.parametrize("backend", ["reference", pytest.param("native", marks=needs_native)])
def test_it_is_the_sum_over_pairs_and_so_are_its_gradients(generator, backend):
    optical, distances, deltas, offsets = rays(generator, 200)
    upstream = torch.randn(200, generator=generator)
    given = optical.requires_grad_()
    with ops.backend.use(backend):
        found = ops.distortion(given, distances, deltas, offsets)
        (gradient,) = torch.autograd.grad((found * upstream).sum(), given)
    exact = optical.detach().double().requires_grad_()
    cuts = [slice(int(a), int(b)) for a, b in zip(offsets, offsets[1:], strict=False)]
    wanted = torch.stack([over_pairs(exact[c], distances[c].double(), deltas[c].double()) for c in cuts])
    (slope,) = torch.autograd.grad((wanted * upstream).sum(), exact)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(gradient.double(), slope, rtol=1e-3, atol=1e-6)


def test_light_from_one_place_is_not_spread_and_fog_is(generator):
    deltas = torch.full((16,), 0.01)
    distances, offsets = deltas.cumsum(0), torch.tensor([0, 16])
    wall = torch.zeros(16)
    wall[int(torch.randint(0, 16, (1,), generator=generator))] = 50.0
    fog = torch.rand(16, generator=generator) * 0.1 + 0.2
    # A wall's light comes from one piece of 0.01: a third of it.
    assert float(ops.distortion(wall, distances, deltas, offsets)) == pytest.approx(0.01 / 3, rel=1e-4)
    assert float(ops.distortion(fog, distances, deltas, offsets)) > 0.02


def test_samples_that_do_not_fit_are_refused(generator):
    optical, distances, deltas, offsets = rays(generator, 30)
    with pytest.raises(ValueError, match="distances"):
        ops.distortion(optical, distances[1:], deltas, offsets)
