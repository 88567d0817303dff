"""Mesh rasteriser: against the torch reference, and the cases that rasterisers get wrong."""

from __future__ import annotations

import pytest
import torch

from headavatar import ops
from headavatar.ops.native import library

needs_native = pytest.mark.skipif(library.load().handle is None, reason="the native library is not built")


def project(points: torch.Tensor, focal: float, size: int) -> torch.Tensor:
    z = points[..., 2:]
    return torch.cat((points[..., :2] / z * focal + size / 2, z), -1)


def soup(generator, vertices=150, faces=250, size=64):
    """Triangles of all shapes: in front, behind, through the camera's plane, off the picture, without area."""
    points = (torch.rand(vertices, 3, generator=generator) - 0.5) * torch.tensor([2.0, 2.0, 3.0])
    points[:, 2] += 1.2
    index = torch.randint(0, vertices, (faces, 3), generator=generator)
    index[0, 1] = index[0, 0]
    return project(points, 50.0, size), index


@needs_native
@pytest.mark.parametrize("cull", [False, True])
def test_values_and_gradients_agree(generator, cull):
    scenes = [soup(generator) for _ in range(3)]
    vertices, faces = torch.stack([v for v, _ in scenes]), scenes[0][1]
    attributes = torch.randn(3, vertices.shape[1], 5, generator=generator)
    found = []
    for name in ("native", "reference"):
        with ops.backend.use(name):
            v, a = vertices.clone().requires_grad_(), attributes.clone().requires_grad_()
            fragments = ops.rasterize(v, faces, 50, 64, cull=cull)
            picture = ops.interpolate(a, faces, fragments)
            weight = torch.linspace(-1, 1, picture.numel()).view_as(picture)
            ((picture * weight).sum() + (fragments.depth * weight[..., 0]).sum()).backward()
            found.append((fragments, picture, v.grad, a.grad))
    (mine, picture, gv, ga), (theirs, expected, expected_gv, expected_ga) = found
    assert int(mine.mask.sum()) > 1000
    assert torch.equal(mine.face_index, theirs.face_index)
    assert torch.allclose(mine.bary, theirs.bary, atol=1e-6) and torch.allclose(mine.depth, theirs.depth, atol=1e-6)
    assert torch.allclose(picture, expected, atol=1e-5)
    assert float((gv - expected_gv).abs().max()) <= 1e-4 * float(expected_gv.abs().max())
    assert float((ga - expected_ga).abs().max()) <= 1e-4 * float(expected_ga.abs().max())


def test_shared_edges_are_drawn_exactly_once(generator, backend):
    # A fan whose edges run through pixel centres in many directions, and a grid of squares cut along diagonals.
    size = 33
    around = torch.tensor([[0, 0], [16, 0], [32, 0], [32, 16], [32, 32], [16, 32], [0, 32], [0, 16]]) + 0.5
    middle = torch.tensor([[16.5, 16.5]])
    depth = torch.rand(9, 1, generator=generator) + 1
    vertices = torch.cat((torch.cat((around, middle)), depth), 1)
    faces = torch.tensor([[8, k, (k + 1) % 8] for k in range(8)])
    counts = torch.zeros(size, size, dtype=torch.int64)
    for face in faces:
        counts += ops.rasterize(vertices, face[None], size, size).mask
    assert int(counts.max()) == 1
    assert bool((counts[1:-1, 1:-1] == 1).all())  # of the outer edges, two sides' pixels belong to no face


def test_a_random_closed_patch_has_no_holes_and_no_double_pixels(generator, backend):
    n, size = 12, 40
    grid = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="xy"), -1).float() * 4 - 2
    grid[1:-1, 1:-1] += (torch.rand(n - 2, n - 2, 2, generator=generator) - 0.5) * 1.8  # more could fold it
    vertices = torch.cat((grid.reshape(-1, 2), torch.rand(n * n, 1, generator=generator) + 0.5), 1)
    i = torch.arange(n * n).view(n, n)
    corners = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    faces = torch.cat([torch.stack([corners[k] for k in t], -1).reshape(-1, 3) for t in ((0, 1, 2), (0, 2, 3))])
    counts = torch.zeros(size, size, dtype=torch.int64)
    for face in faces:
        counts += ops.rasterize(vertices, face[None], size, size).mask
    assert bool((counts == 1).all())


def test_interpolation_is_perspective_correct(generator, backend):
    points = torch.rand(3, 3, generator=generator) * 2 - torch.tensor([1.0, 1.0, -0.5])
    points[:, 2] = torch.tensor([0.5, 1.5, 4.0])
    vertices = project(points, 40.0, 48)
    faces = torch.tensor([[0, 1, 2]])
    fragments = ops.rasterize(vertices, faces, 48, 48)
    seen = ops.interpolate(points, faces, fragments)[fragments.mask]
    rows, columns = fragments.mask.nonzero(as_tuple=True)
    if not len(rows):
        pytest.skip("this triangle covers no pixel centre")
    pixels = torch.stack((columns + 0.5, rows + 0.5), -1)
    assert torch.allclose(project(seen, 40.0, 48)[:, :2], pixels, atol=2e-3)
    assert torch.allclose(seen[:, 2], fragments.depth[fragments.mask], atol=1e-4)


def test_the_nearest_face_wins_and_the_first_of_equals(backend):
    square = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    layers = [torch.cat((square, torch.full((3, 1), z)), 1) for z in (2.0, 1.0, 1.0)]
    faces = torch.arange(9).view(3, 3)
    fragments = ops.rasterize(torch.cat(layers), faces, 8, 8)
    assert fragments.face_index[fragments.mask].unique().tolist() == [1]


def test_faces_behind_the_camera_are_not_drawn(backend):
    vertices = torch.tensor([[2.0, 2.0, -1.0], [30.0, 2.0, -1.0], [2.0, 30.0, -1.0], [2.0, 2.0, 0.005],
                             [30.0, 2.0, 0.005], [2.0, 30.0, 0.005]])  # fmt: skip
    assert not ops.rasterize(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]]), 32, 32).mask.any()


def test_a_face_through_the_camera_plane_is_cut_at_the_near_plane(backend):
    # A floor one unit under the camera, from two units behind it to ten before it.
    corners = torch.tensor([[-5.0, 1.0, -2.0], [5.0, 1.0, -2.0], [5.0, 1.0, 10.0], [-5.0, 1.0, 10.0]])
    fragments = ops.rasterize(project(corners, 32.0, 64), torch.tensor([[0, 1, 2], [0, 2, 3]]), 64, 64)
    rows = (torch.arange(64) + 0.5 - 32) / 32
    expected = torch.where(rows > 0.1, 1 / rows, torch.zeros(64))  # depth of the floor; it ends at a depth of 10
    middle = fragments.depth[:, 32]
    assert torch.allclose(middle, expected, atol=1e-4)


def test_slivers_off_screen_and_degenerate_faces_do_no_harm(backend):
    nan = float("nan")
    vertices = torch.tensor([
        [1.0, 1.0, 1.0], [31.0, 1.0 + 1e-6, 1.0], [16.0, 1.0 + 2e-6, 1.0],  # a sliver between rows of centres
        [1e9, 1e9, 1.0], [2e9, 1e9, 1.0], [1e9, 2e9, 1.0],  # far off the picture
        [nan, 3.0, 1.0], [3.0, float("inf"), 1.0], [5.0, 5.0, 1.0], [5.0, 5.0, 1.0], [7.0, 7.0, 0.0],
    ])  # fmt: skip
    faces = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8], [8, 9, 8], [8, 9, 10], [0, 3, 6]])
    fragments = ops.rasterize(vertices, faces, 32, 32)
    assert not fragments.mask.any()
    assert bool(torch.isfinite(fragments.bary).all() and torch.isfinite(fragments.depth).all())


def test_a_face_larger_than_the_picture_covers_it(backend):
    vertices = torch.tensor([[-1e4, -1e4, 3.0], [3e4, -1e4, 3.0], [-1e4, 3e4, 3.0]])
    fragments = ops.rasterize(vertices, torch.tensor([[0, 1, 2]]), 20, 30)
    assert fragments.mask.all()
    assert torch.allclose(fragments.depth, torch.full((20, 30), 3.0))


def test_culling_keeps_what_runs_counter_clockwise_on_the_picture(backend):
    # Seen with y down: along the bottom to the right, then up, is counter-clockwise to the eye.
    vertices = torch.tensor([[1.0, 15.0, 1.0], [15.0, 15.0, 1.0], [15.0, 1.0, 1.0]])
    assert ops.rasterize(vertices, torch.tensor([[0, 1, 2]]), 16, 16, cull=True).mask.any()
    assert not ops.rasterize(vertices, torch.tensor([[0, 2, 1]]), 16, 16, cull=True).mask.any()
    assert ops.rasterize(vertices, torch.tensor([[0, 2, 1]]), 16, 16).mask.any()


def test_an_empty_mesh_gives_an_empty_picture(backend):
    fragments = ops.rasterize(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64), 5, 7)
    assert fragments.face_index.shape == (5, 7) and not fragments.mask.any()


@needs_native
def test_indices_outside_the_mesh_are_refused():
    with pytest.raises(ValueError, match="outside"):
        ops.rasterize(torch.ones(3, 3), torch.tensor([[0, 1, 3]]), 4, 4)


def test_other_indices_for_the_same_faces_interpolate_uvs(backend):
    vertices = torch.tensor([[0.0, 0.0, 1.0], [16.0, 0.0, 1.0], [0.0, 16.0, 1.0]])
    fragments = ops.rasterize(vertices, torch.tensor([[0, 1, 2]]), 16, 16)
    uvs = torch.tensor([[9.0, 9.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    picture = ops.interpolate(uvs, torch.tensor([[1, 2, 3]]), fragments)
    assert torch.allclose(picture[2, 4], torch.tensor([4.5, 2.5]) / 16)


@needs_native
def test_layers_agree_in_values_and_gradients(generator):
    scenes = [soup(generator) for _ in range(2)]
    vertices, faces = torch.stack([v for v, _ in scenes]), scenes[0][1]
    attributes = torch.randn(2, vertices.shape[1], 3, generator=generator)
    found = []
    for name in ("native", "reference"):
        with ops.backend.use(name):
            v, a = vertices.clone().requires_grad_(), attributes.clone().requires_grad_()
            fragments = ops.rasterize(v, faces, 40, 48, layers=3)
            picture = ops.interpolate(a, faces, fragments)
            weight = torch.linspace(-1, 1, picture.numel()).view_as(picture)
            ((picture * weight).sum() + (fragments.depth * weight[..., 0]).sum()).backward()
            found.append((fragments, picture.detach(), v.grad, a.grad))
    (mine, picture, gv, ga), (theirs, expected, expected_gv, expected_ga) = found
    assert picture.shape == (2, 3, 40, 48, 3) and mine.bary.shape == picture.shape
    assert torch.equal(mine.face_index, theirs.face_index) and int(mine.mask[:, 2].sum()) > 500
    assert torch.allclose(picture, expected, atol=1e-5)
    assert float((gv - expected_gv).abs().max()) <= 1e-4 * float(expected_gv.abs().max())
    assert float((ga - expected_ga).abs().max()) <= 1e-4 * float(expected_ga.abs().max())


def test_layers_are_what_taking_off_the_nearest_faces_shows(generator, backend):
    vertices, faces = soup(generator, faces=40)
    layered = ops.rasterize(vertices, faces, 24, 24, layers=3)
    assert torch.equal(layered.face_index[0], ops.rasterize(vertices, faces, 24, 24).face_index)
    depths = torch.where(layered.mask, layered.depth, torch.inf)
    assert bool((depths[1:] >= depths[:-1]).all())
    for row, column in torch.randint(0, 24, (12, 2), generator=generator).tolist():
        left = faces.clone()
        for layer in range(3):
            face = int(ops.rasterize(vertices, left, 24, 24).face_index[row, column])
            assert face == int(layered.face_index[layer, row, column])
            if face >= 0:
                left[face] = left[face, 0]  # without area


def test_equal_layers_come_in_the_faces_order(backend):
    square = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    vertices = torch.cat([torch.cat((square, torch.full((3, 1), z)), 1) for z in (2.0, 1.0, 1.0, 1.0)])
    fragments = ops.rasterize(vertices, torch.arange(12).view(4, 3), 8, 8, layers=5)
    assert fragments.face_index[:, 0, 0].tolist() == [1, 2, 3, 0, -1]
