"""Silhouette anti-aliasing: against the torch reference, against finite differences, and against exact coverage."""

from __future__ import annotations

import math

import pytest
import torch

from headavatar import ops
from headavatar.ops.native import library

needs_native = pytest.mark.skipif(library.load().handle is None, reason="the native library is not built")


def ball(generator, rings, size, noise=0.02):
    """A lumpy closed sphere at a random place before the camera: pixels and depth, faces."""
    polar = torch.linspace(0.0, math.pi, rings + 2, dtype=torch.float64)[1:-1]
    around = torch.arange(2 * rings, dtype=torch.float64) * (math.pi / rings)
    t, p = torch.meshgrid(polar, around, indexing="ij")
    shell = torch.stack((t.sin() * p.cos(), t.cos(), t.sin() * p.sin()), -1).reshape(-1, 3)
    points = torch.cat((shell, torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)))
    points = points * (1 + noise * torch.randn(len(points), 1, generator=generator, dtype=torch.float64))
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    center = torch.cat((torch.rand(2, generator=generator) * 0.6 - 0.3, torch.tensor([3.0]))).double()
    points = points @ turn + center
    index = torch.arange(rings * 2 * rings).view(rings, 2 * rings)
    a, b, c, d = index[:-1], index[1:], index[1:].roll(-1, 1), index[:-1].roll(-1, 1)
    north, south = len(points) - 2, len(points) - 1
    caps = [torch.stack((torch.full_like(row, pole), *pair), -1) for pole, row, pair in (
        (north, index[0], (index[0], index[0].roll(-1))), (south, index[-1], (index[-1].roll(-1), index[-1])),
    )]  # fmt: skip
    faces = torch.cat((torch.stack((a, b, c), -1).reshape(-1, 3), torch.stack((a, c, d), -1).reshape(-1, 3), *caps))
    z = points[:, 2:]
    return torch.cat((points[:, :2] / z * size + size / 2, z), 1), faces


def scene(generator, size):
    """Two lumpy balls, one before the other, an open sheet of few faces, and slivers, in double precision."""
    far, far_faces = ball(generator, 9, size)
    near, near_faces = ball(generator, 14, size)
    near[:, 2] -= 1.5
    sheet = torch.rand(6, 3, generator=generator, dtype=torch.float64) * torch.tensor([size, size, 3.0]) + 0.5
    corner = torch.rand(4, 1, 3, generator=generator, dtype=torch.float64) * torch.tensor([size, size, 2.0]) + 0.5
    thin = torch.cat((corner, corner + torch.randn(4, 1, 3, generator=generator) * 9,
                      corner + torch.randn(4, 1, 3, generator=generator) * 0.2), 1).reshape(-1, 3)  # fmt: skip
    thin[:, 2] = thin[:, 2].clamp_min(0.3)
    parts = [(far, far_faces), (near, near_faces), (sheet, torch.tensor([[0, 1, 2], [1, 3, 2], [3, 4, 5]])),
             (thin, torch.arange(12).view(4, 3))]  # fmt: skip
    starts = torch.tensor([0] + [len(v) for v, _ in parts[:-1]]).cumsum(0).tolist()
    return torch.cat([v for v, _ in parts]), torch.cat([f + s for (_, f), s in zip(parts, starts, strict=True)])


def test_what_is_seen_follows_finite_differences_at_edges_and_slivers(generator):
    """Barycentric coordinates, depth and attributes of every pixel whose face a step leaves alone."""
    vertices, faces = scene(generator, 24)
    fixed = ops.rasterize(vertices, faces, 24, 24, layers=2).face_index
    attributes = torch.randn(len(vertices), 2, generator=generator, dtype=torch.float64)
    weights = torch.randn(2, 24, 24, 6, generator=generator, dtype=torch.float64)
    still = torch.ones_like(fixed, dtype=torch.bool)

    def seen(v, a):
        fragments = ops.rasterize(v, faces, 24, 24, layers=2)
        values = torch.cat((fragments.bary, fragments.depth[..., None], ops.interpolate(a, faces, fragments)), -1)
        return values * weights, fragments.face_index == fixed

    towards = torch.randn(vertices.shape, generator=generator, dtype=torch.float64)
    along = torch.randn(attributes.shape, generator=generator, dtype=torch.float64)
    step = 1e-7
    (before, same), (after, too) = (seen(vertices + s * towards, attributes + s * along) for s in (-step, step))
    still &= same & too & (fixed >= 0)
    measured = (after - before).sum(-1) / (2 * step)
    here = torch.zeros((), dtype=torch.float64, requires_grad=True)
    values, _ = seen(vertices + here * towards, attributes + here * along)
    picked = still.nonzero()[torch.randperm(int(still.sum()), generator=generator)[:60]]
    assert len(picked) == 60 and float(still[fixed >= 0].float().mean()) > 0.98
    for layer, row, column in picked.tolist():
        (expected,) = torch.autograd.grad(values[layer, row, column].sum(), here, retain_graph=True)
        size = max(1.0, float(values[layer, row, column].detach().abs().sum()), abs(float(expected)))
        # A sliver's coordinates change as the square of its thinness in the step's second order.
        assert abs(float(measured[layer, row, column]) - float(expected)) < 1e-3 * size


@needs_native
def test_values_and_gradients_agree(generator):
    scenes = [scene(generator, 48) for _ in range(2)]
    vertices, faces = torch.stack([v for v, _ in scenes]).float(), scenes[0][1]
    picture = torch.rand(2, 40, 48, 5, generator=generator)
    weights = torch.randn(2, 40, 48, 5, generator=generator)
    found = []
    for name in ("native", "reference"):
        with ops.backend.use(name):
            v, p = vertices.clone().requires_grad_(), picture.clone().requires_grad_()
            fragments = ops.rasterize(v.detach(), faces, 40, 48)
            blended = ops.antialias(p, fragments, v, faces)
            blended.backward(weights)
            found.append((blended, v.grad, p.grad))
    (mine, gv, gp), (expected, expected_gv, expected_gp) = found
    assert int(((mine - picture).abs().amax(-1) > 1e-3).sum()) > 100
    assert torch.allclose(mine, expected, atol=1e-5)
    assert float((gv - expected_gv).abs().max()) <= 1e-4 * float(expected_gv.abs().max())
    assert torch.allclose(gp, expected_gp, atol=1e-5)
    assert not gv[..., 2].any()


def test_gradients_match_finite_differences(generator):
    vertices, faces = scene(generator, 20)
    picture = torch.rand(20, 20, 2, generator=generator, dtype=torch.float64)
    fragments = ops.rasterize(vertices, faces, 20, 20)
    weights = torch.randn(20, 20, 2, generator=generator, dtype=torch.float64)

    def loss(v, p):
        return (ops.antialias(p, fragments, v, faces) * weights).sum()

    v, p = vertices.clone().requires_grad_(), picture.clone().requires_grad_()
    loss(v, p).backward()
    moved = v.grad.abs().sum(1).nonzero()[:, 0]
    assert len(moved) > 10
    step, wrong = 1e-6, 0
    for _ in range(20):
        towards = torch.zeros_like(vertices)
        towards[moved] = torch.randn(len(moved), 3, generator=generator, dtype=torch.float64)
        along = torch.randn(picture.shape, generator=generator, dtype=torch.float64)
        ends = [loss(vertices + s * towards, picture + s * along) for s in (-step, step)]
        expected = float((v.grad * towards).sum() + (p.grad * along).sum())
        wrong += abs(float(ends[1] - ends[0]) / (2 * step) - expected) > 1e-4 * max(1.0, abs(expected))
    assert wrong <= 2  # a step may take an edge over a pixel's center


def test_the_area_of_a_moving_silhouette_is_followed(generator, backend):
    """A mask's sum is the covered area and moves with it, though each pixel's center is either in or out."""
    vertices, faces = ball(generator, 24, 64, noise=0.0)
    vertices = vertices.float()
    mask = lambda v: ops.antialias(  # noqa: E731
        (f := ops.rasterize(v, faces, 64, 64)).mask[..., None].float(), f, v, faces
    )
    hull = vertices[:, :2]
    middle = hull.mean(0)
    v = vertices.clone().requires_grad_()
    mask(v).sum().backward()
    growth = float((v.grad[:, :2] * (hull - middle)).sum())  # d area / d scale = 2 area
    area = float(mask(vertices).sum())
    assert growth == pytest.approx(2 * area, rel=0.03)
    assert float(v.grad[:, :2].sum(0).abs().max()) < 0.1 * math.sqrt(area)  # moving it changes no area
    sizes = [float(mask(torch.cat((middle + s * (hull - middle), vertices[:, 2:]), 1)).sum()) for s in (1.0, 1.01)]
    assert sizes[1] - sizes[0] == pytest.approx(area * (1.01**2 - 1), rel=0.2)


def test_faces_smaller_than_pixels_are_covered_as_by_supersampling(generator, backend):
    vertices, faces = ball(generator, 90, 32, noise=0.0)
    vertices = vertices.float()
    fragments = ops.rasterize(vertices, faces, 32, 32)
    hard = fragments.mask.float()
    blended = ops.antialias(hard[..., None], fragments, vertices, faces)[..., 0]
    fine = ops.rasterize(vertices * torch.tensor([16.0, 16.0, 1.0]), faces, 512, 512).mask.float()
    covered = fine.view(32, 16, 32, 16).mean((1, 3))
    partly = (covered > 0) & (covered < 1)
    assert float((blended - covered)[partly].abs().mean()) < 0.3 * float((hard - covered)[partly].abs().mean())
    assert float(blended.sum()) == pytest.approx(float(covered.sum()), rel=0.01)


def test_edges_within_a_surface_change_nothing(generator, backend):
    n = 9
    grid = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="xy"), -1).float() * 6 - 4
    grid += (torch.rand(n, n, 2, generator=generator) - 0.5) * 2
    vertices = torch.cat((grid.reshape(-1, 2), torch.rand(n * n, 1, generator=generator) + 1), 1)
    i = torch.arange(n * n).view(n, n)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    faces = torch.cat((torch.stack((a, b, c), -1).reshape(-1, 3), torch.stack((a, c, d), -1).reshape(-1, 3)))
    fragments = ops.rasterize(vertices, faces, 40, 40)
    picture = torch.rand(40, 40, 3, generator=generator)
    assert fragments.mask.all() and len(fragments.face_index.unique()) > 50
    assert torch.equal(ops.antialias(picture, fragments, vertices, faces), picture)


def test_a_straight_edge_covers_the_share_that_it_should(generator, backend):
    place = float(torch.rand(1, generator=generator)) * 8 + 4
    tilt = float(torch.rand(1, generator=generator)) * 0.1
    vertices = torch.tensor([[place, -50.0, 1.0], [place + tilt * 100, 50.0, 1.0], [-200.0, 0.0, 1.0]])
    faces = torch.tensor([[0, 1, 2]])
    fragments = ops.rasterize(vertices, faces, 8, 32)
    blended = ops.antialias(fragments.mask[..., None].float(), fragments, vertices, faces)[..., 0]
    rows = torch.arange(8) + 0.5
    assert torch.allclose(blended.sum(1), place + tilt * (rows + 50), atol=1e-4)


def test_topology_tells_boundaries_from_shared_and_crowded_edges():
    faces = torch.tensor([[0, 1, 2], [2, 1, 3], [4, 5, 6], [5, 4, 7], [4, 5, 8]])
    from headavatar.ops.topology import BOUNDARY, CROWDED, topology

    twins = topology(faces).twins
    assert twins.tolist()[:2] == [[3 * 1 + 2, BOUNDARY, BOUNDARY], [BOUNDARY, BOUNDARY, 0]]
    assert twins[2:, 2].tolist() == [CROWDED] * 3
    faces[0, 0] = 9  # the answer that is kept is not of the changed mesh
    assert topology(faces).vertex_count == 10


@needs_native
def test_gradients_do_not_depend_on_the_number_of_threads(generator):
    vertices, faces = scene(generator, 64)
    vertices = vertices.float().requires_grad_()
    fragments = ops.rasterize(vertices.detach(), faces, 64, 64)
    picture = torch.rand(64, 64, 3, generator=generator, requires_grad=True)
    weights = torch.randn(64, 64, 3, generator=generator)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            blended = ops.antialias(picture, fragments, vertices, faces)
            found.append(torch.autograd.grad(blended, (picture, vertices), weights))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
