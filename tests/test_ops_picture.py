"""Rays of a picture's pixels, and what they saw as a picture, on each backend."""

from __future__ import annotations

import pytest
import torch

from headavatar import ops


def turned(generator):
    """A matrix like a camera's: a rotation, and pixels of a thousandth."""
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    return rotation @ torch.tensor([[1e-3, 0.0, -0.1], [0.0, 1e-3, -0.2], [0.0, 0.0, 1.0]])


def test_rays_pass_through_the_middles_of_pixels(generator, backend):
    turn = turned(generator)
    left, top, columns, rows = torch.randint(1, 70, (4,), generator=generator).tolist()
    directions, lengths = ops.pixel_rays(turn, left, top, columns, rows)
    assert directions.shape == (rows, columns, 3) and lengths.shape == (rows, columns)
    v, u = torch.meshgrid(torch.arange(rows) + top + 0.5, torch.arange(columns) + left + 0.5, indexing="ij")
    expected = torch.stack([u, v, torch.ones_like(u)], -1) @ turn.T
    assert torch.allclose(directions * lengths[..., None], expected, atol=1e-5)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(rows, columns), atol=1e-5)


def test_what_rays_saw_is_laid_over_the_background(generator, backend):
    height, width = torch.randint(8, 60, (2,), generator=generator).tolist()
    columns, rows, left, top = width - 5, height - 6, 3, 2
    alpha = torch.rand(rows * columns, generator=generator)
    alpha[torch.rand(rows * columns, generator=generator) < 0.3] = 0.0
    color = torch.rand(rows * columns, 3, generator=generator)
    distance = torch.rand(rows * columns, generator=generator)
    lengths, background = torch.rand(rows, columns, generator=generator) + 1, torch.rand(3, generator=generator)
    rgb = background.expand(height, width, 3).clone()
    opacity, depth = torch.zeros(height, width), torch.zeros(height, width)
    seen = ops.Composite(color * alpha[:, None], alpha, distance * alpha)
    ops.lay_over(seen, lengths, background, 0.25, left, top, rgb, opacity, depth)
    part = slice(top, top + rows), slice(left, left + columns)
    share = alpha.reshape(rows, columns, 1)
    mixed = color.reshape(rows, columns, 3) * share + background * (1 - share)
    assert torch.allclose(rgb[part], mixed, atol=1e-6) and torch.equal(opacity[part], share[..., 0])
    shown = share[..., 0] > 0.01
    assert torch.allclose(depth[part][shown], (distance.reshape(rows, columns) * 0.25 / lengths)[shown], atol=1e-5)
    assert not depth[part][share[..., 0] == 0].any()
    outside = torch.ones(height, width, dtype=torch.bool)
    outside[part] = False
    assert torch.equal(rgb[outside], background.expand(int(outside.sum()), 3))
    assert not opacity[outside].any() and not depth[outside].any()


def test_rectangles_that_do_not_fit_are_refused(generator):
    seen = ops.Composite(torch.zeros(12, 3), torch.zeros(12), torch.zeros(12))
    rgb, alpha, depth = torch.zeros(8, 8, 3), torch.zeros(8, 8), torch.zeros(8, 8)
    with pytest.raises(ValueError, match="lie in"):
        ops.lay_over(seen, torch.ones(3, 4), torch.ones(3), 1.0, 5, 0, rgb, alpha, depth)
    with pytest.raises(ValueError, match="rays"):
        ops.lay_over(seen, torch.ones(3, 5), torch.ones(3), 1.0, 0, 0, rgb, alpha, depth)
    with pytest.raises(ValueError, match="size"):
        ops.lay_over(seen, torch.ones(3, 4), torch.ones(3), 1.0, 0, 0, rgb, alpha[:4], depth)
    with pytest.raises(ValueError, match="turn"):
        ops.pixel_rays(torch.eye(4), 0, 0, 3, 3)
