"""Points moved by grids of displacements."""

from __future__ import annotations

import pytest
import torch
from test_ops_render import both, needs_native, scene

from headavatar import ops


def moved(x: torch.Tensor, warp: torch.Tensor) -> torch.Tensor:
    return ops.warp_points(x, warp[None], torch.tensor([0, len(x)]))


@needs_native
def test_a_picture_of_moved_points_agrees(generator):
    arguments, named = scene(generator, 2500, 4)
    warp = torch.randn(12**3 * 4, generator=generator) * 0.02
    still, _ = both(arguments, named | {"samples": 9})
    native, reference = both(arguments, named | {"samples": 9, "warp": warp})
    assert float((native.rgb - still.rgb).abs().mean()) > 0.01
    # A displaced sample is found by the same sums in another order, and its field is rough.
    assert float((native.rgb - reference.rgb).abs().max()) < 2e-3
    assert float((native.rgb - reference.rgb).abs().mean()) < 1e-5


def test_spread_grids_hold_the_values_where_they_were_given_and_pass_smoothly_between(generator):
    turn = torch.randn(3, 3, generator=generator) * 0.05
    points = torch.rand(2, 4000, 3, generator=generator) * 0.6 + 0.2
    values = points @ turn
    warp = ops.spread(points, values, 24)
    found = ops.warp_points(points.reshape(-1, 3), warp, torch.tensor([0, 4000, 8000])) - points.reshape(-1, 3)
    assert float((found - values.reshape(-1, 3)).norm(dim=1).mean()) < 0.06 * float(values.norm(dim=-1).mean())
    corner = torch.zeros(1, 3)
    assert float((moved(corner, warp[0]) - corner).norm()) < 1.5 * float(values[0].norm(dim=-1).max())


@needs_native
@pytest.mark.parametrize(("frames", "points", "nodes"), [(1, 5000, 32), (3, 400, 17), (2, 1, 3), (1, 60, 6)])
def test_grids_spread_alike_on_both_backends(generator, frames, points, nodes):
    places = torch.rand(frames, points, 3, generator=generator) * 1.2 - 0.1  # some outside
    values = torch.randn(frames, points, 3, generator=generator)
    found = []
    for name in ("native", "reference"):
        with ops.backend.use(name):
            found.append(ops.spread(places, values, nodes, 0.3))
    assert float((found[0] - found[1]).abs().max()) < 1e-4
    assert float(found[1].abs().max()) > 0.01


def test_spreading_gives_gradients_where_they_are_asked_for(generator):
    places = torch.rand(1, 50, 3, generator=generator)
    values = torch.randn(1, 50, 3, generator=generator).requires_grad_()
    ops.spread(places, values, 8).sum().backward()
    # Whatever the values are, a grid of equal ones holds that one everywhere.
    assert float(values.grad.sum()) == pytest.approx(3 * 8**3, rel=1e-3)


@needs_native
@pytest.mark.parametrize(("old", "nodes"), [(16, 32), (3, 5), (7, 19), (9, 9)])
def test_grids_are_refined_alike_on_both_backends(generator, old, nodes):
    coarse = torch.randn(2, old**3 * 4, generator=generator)
    weights = torch.randn(2, nodes**3 * 4, generator=generator)
    found = []
    for name in ("native", "reference"):
        with ops.backend.use(name):
            given = coarse.clone().requires_grad_()
            fine = ops.refine(given, nodes)
            (fine * weights).sum().backward()
            found.append((fine.detach(), given.grad))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5 * float(other.abs().max()) + 1e-5)


def test_a_refined_grid_moves_points_as_the_coarse_one_did(generator):
    linear = torch.randn(3, 3, generator=generator) * 0.1
    nodes = 7
    axis = (torch.arange(nodes) - 0.5) / (nodes - 2)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    values = torch.stack([x, y, z], -1) @ linear
    coarse = torch.nn.functional.pad(values, (0, 1)).reshape(1, -1).requires_grad_()
    fine = ops.refine(coarse, 19)
    points = torch.rand(500, 3, generator=generator) * 0.8 + 0.1
    assert torch.allclose(moved(points, fine[0]) - points, points @ linear, atol=1e-5)
    fine.sum().backward()
    assert float(coarse.grad.sum()) == pytest.approx(fine.numel(), rel=1e-4)


def test_moved_points_give_the_grid_its_gradient(generator):
    warp = (torch.randn(1, 5**3 * 4, generator=generator) * 0.01).requires_grad_()
    points = torch.rand(200, 3, generator=generator)
    weights = torch.randn(200, 3, generator=generator)
    loss = (ops.warp_points(points, warp, torch.tensor([0, 200])) * weights).sum()
    loss.backward()
    step = torch.randn(warp.shape, generator=generator)
    with torch.no_grad():
        after = (ops.warp_points(points, warp + step, torch.tensor([0, 200])) * weights).sum()
    assert float(after - loss.detach()) == pytest.approx(float((warp.grad * step).sum()), rel=1e-3, abs=1e-3)
