"""A posed shape before a camera: against the torch reference, and what bases, joints and cameras do."""

from __future__ import annotations

import pytest
import torch

from headavatar import ops
from headavatar.head.rotations import axis_angle_to_matrix
from headavatar.ops.native import library

needs_native = pytest.mark.skipif(library.load().handle is None, reason="the native library is not built")


def drawn_up(generator, vertices, bases, joints):
    """A shape whose bases and joints move parts of it, and one frame's coefficients and turns."""

    def random(*size):
        return torch.randn(*size, generator=generator)

    moved = random(bases, vertices, 3) * 0.02
    for base in moved:
        first = int(torch.randint(0, vertices, (1,), generator=generator))
        base[:first] = 0
    weights = (torch.rand(vertices, joints, generator=generator) - 0.4).clamp_min(0)
    shape = ops.pack_shape(random(vertices, 3) * 0.1, moved, weights)
    coefficients = torch.rand(bases, generator=generator) * torch.randint(0, 2, (bases,), generator=generator)
    view = torch.cat([axis_angle_to_matrix(random(3) * 0.3), torch.tensor([[0.1], [-0.05], [0.9]])], 1)
    projection = torch.tensor([[400.0, 1.5, 130.0], [0.0, 410.0, 120.0]])
    return shape, (coefficients, axis_angle_to_matrix(random(joints, 3)), random(joints, 3) * 0.1, view, projection)


@needs_native
@pytest.mark.parametrize(("vertices", "bases", "joints"), [(1000, 20, 4), (37, 1, 1), (16, 0, 2), (5, 3, 0)])
@pytest.mark.parametrize("offset", [False, True])
def test_backends_agree(generator, vertices, bases, joints, offset):
    shape, frame = drawn_up(generator, vertices, bases, joints)
    added = torch.randn(vertices, 3, generator=generator) * 0.01 if offset else None
    found = []
    for name in ("native", "reference"):
        with ops.backend.use(name):
            found.append(ops.pose_shape(shape, *frame, added))
    (points, pixels), (expected_points, expected_pixels) = found
    assert torch.allclose(points, expected_points, atol=2e-6)
    assert torch.allclose(pixels[:, 2], points[:, 2]) and torch.allclose(pixels, expected_pixels, rtol=1e-4, atol=1e-2)


def test_joints_turn_in_their_order_about_their_pivots(generator, backend):
    rest, pivots = torch.randn(50, 3, generator=generator), torch.randn(2, 3, generator=generator)
    turns = axis_angle_to_matrix(torch.randn(2, 3, generator=generator))
    shape = ops.pack_shape(rest, torch.zeros(0, 50, 3), torch.ones(50, 2))
    still = torch.cat([torch.eye(3), torch.zeros(3, 1)], 1)
    points, pixels = ops.pose_shape(shape, torch.zeros(0), turns, pivots, still, torch.eye(3)[:2])
    wanted = rest
    for turn, pivot in zip(turns, pivots, strict=True):
        wanted = (wanted - pivot) @ turn.T + pivot
    assert torch.allclose(points, wanted, atol=1e-5)
    far = points[:, 2].abs() > 0.1
    assert torch.allclose(pixels[far, :2], points[far, :2] / points[far, 2:], rtol=1e-3, atol=1e-4)


def test_what_does_not_fit_is_refused(generator):
    shape, frame = drawn_up(generator, 20, 3, 2)
    with pytest.raises(ValueError, match="3 coefficients and 2 rotations"):
        ops.pose_shape(shape, torch.zeros(4), *frame[1:])
    with pytest.raises(ValueError, match="all vertices"):
        ops.pose_shape(shape, *frame, torch.zeros(19, 3))
    with pytest.raises(ValueError, match="of a shape"):
        ops.pack_shape(torch.zeros(4, 3), torch.zeros(2, 5, 3), torch.zeros(4, 1))
