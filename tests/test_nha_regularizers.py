"""What keeps a displaced mesh smooth and unfolded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headavatar.head import HeadModel, load
from headavatar.methods.neural_head_avatar.regularizers import (
    edge_energy,
    flip_energy,
    flipped,
    laplacian_energy,
    region_weights,
    surface_energy,
)
from headavatar.methods.neural_head_avatar.smoothing import edges_of


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load()


@pytest.fixture(scope="module")
def edges(head: HeadModel) -> torch.Tensor:
    return torch.from_numpy(edges_of(head.faces.numpy()))


def test_later_regions_win_and_missing_ones_are_passed_over(head: HeadModel) -> None:
    weights = region_weights(head, {"face": 3.0, "lips": 7.0, "antlers": 9.0})
    lips, face = head.regions["lips"], head.regions["face"]
    assert (weights[lips] == 7).all() and (weights[face & ~lips] == 3).all() and (weights[~face & ~lips] == 1).all()
    usual = region_weights(head)
    assert (usual[head.regions["ears"] & ~head.regions["sockets"]] > usual[head.regions["scalp"]].max()).all()


def test_what_moves_as_one_costs_no_smoothness(head: HeadModel, edges: torch.Tensor, rng: np.random.Generator) -> None:
    weights = region_weights(head)
    shift = torch.from_numpy(rng.normal(0, 0.01, (1, 3)).astype(np.float32)).expand(head.vertex_count, 3)
    assert laplacian_energy(shift, edges, weights) < 1e-6
    offset = shift.clone()
    vertex = int(rng.choice(np.flatnonzero(head.regions["scalp"].numpy())))
    offset[vertex, 1] += 0.002
    energy = laplacian_energy(offset, edges, torch.ones(head.vertex_count)) * head.vertex_count
    around = edges[(edges == vertex).any(1)].reshape(-1)
    around = around[around != vertex]
    expected = 4 * (1 + sum(1 / float((edges == other).sum()) ** 2 for other in around))  # the spike, and its neighbors
    assert float(energy) == pytest.approx(expected, rel=1e-3)


def test_a_spike_costs_edges_and_a_bigger_head_does_not(
    head: HeadModel, edges: torch.Tensor, rng: np.random.Generator
) -> None:
    rest = head.template
    scalp = edges[head.regions["scalp"][edges].all(1)]
    assert edge_energy(rest * float(rng.uniform(1, 2)), rest, scalp) < 1e-9
    spiked = rest.clone()
    vertex = scalp[rng.integers(len(scalp)), 0]
    away = spiked[vertex] - spiked[head.regions["scalp"]].mean(0)
    spiked[vertex] += 0.08 * away / away.norm()
    assert edge_energy(spiked, rest, scalp) > 0.002


def test_surface_counts_square_millimeters(rng: np.random.Generator) -> None:
    offsets = torch.from_numpy(rng.normal(0, 1, (50, 3)).astype(np.float32))
    offsets = 0.003 * offsets / offsets.norm(dim=1, keepdim=True)
    weights = torch.ones(50)
    weights[:25] = 3.0
    assert float(surface_energy(offsets, weights)) == pytest.approx(9 * 2, rel=1e-4)


def test_growing_and_shifting_folds_nothing(head: HeadModel, rng: np.random.Generator) -> None:
    moved = head.template * float(rng.uniform(1, 1.4)) + torch.from_numpy(rng.normal(0, 0.1, 3).astype(np.float32))
    assert flip_energy(moved, head.template, head.faces) < 1e-6
    assert not flipped(moved, head.template, head.faces).any()


def test_a_fold_is_seen_and_the_gradient_undoes_it(head: HeadModel, rng: np.random.Generator) -> None:
    scalp = np.flatnonzero(head.regions["scalp"].numpy() & ~head.regions["ears"].numpy())
    vertex = int(rng.choice(scalp))
    around = head.faces[(head.faces == vertex).any(1)]
    neighbor = int(around[around != vertex][0])
    moved = head.template.clone()
    moved[vertex] += 2.5 * (moved[neighbor] - moved[vertex])  # over the edge across
    turned = flipped(moved, head.template, head.faces)
    assert turned.any() and not turned[~(head.faces == vertex).any(1)].any()
    moved.requires_grad_()
    flip_energy(moved, head.template, head.faces).backward()
    assert moved.grad is not None
    assert (moved.grad[vertex] * (moved.detach() - head.template)[vertex]).sum() > 0
    assert not moved.grad[~torch.isin(torch.arange(head.vertex_count), around)].any()


def test_gradients_are_those_of_finite_differences(rng: np.random.Generator) -> None:
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    links = torch.from_numpy(edges_of(faces.numpy()))
    rest = torch.tensor([[0, 0, 1], [1, 0, 0], [-0.5, 0.9, 0], [-0.5, -0.9, 0]], dtype=torch.float64)
    offsets = torch.from_numpy(rng.normal(0, 0.7, (4, 3))).requires_grad_()
    weights = torch.from_numpy(rng.uniform(0.5, 2, 4))

    def total(values: torch.Tensor) -> torch.Tensor:
        small = values / 1000
        energy = laplacian_energy(small, links, weights) + surface_energy(small, weights)
        return energy + flip_energy(rest + values, rest, faces)

    assert torch.autograd.gradcheck(total, (offsets,))
