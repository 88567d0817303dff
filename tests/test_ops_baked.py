"""The baked shader: against the torch reference, and what its maps, weights and normals mean."""

from __future__ import annotations

import pytest
import torch

from headavatar import ops
from headavatar.ops import vertex_normals
from headavatar.ops.native import library

needs_native = pytest.mark.skipif(library.load().handle is None, reason="the native library is not built")


def square(depth=1.0, size=32.0):
    """A square over the whole picture, its UVs those of a picture."""
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    vertices = torch.cat((corners * size, torch.full((4, 1), depth)), 1)
    uvs = torch.stack((corners[:, 0], 1 - corners[:, 1]), 1)
    return vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), uvs


@needs_native
@pytest.mark.parametrize(
    ("expressions", "shadings", "coarse", "width"),
    [(0, 0, 24, 48), (5, 2, 24, 48), (20, 4, 7, 49), (3, 3, 2, 150), (9, 1, 1, 131)],
)
def test_pictures_agree(generator, expressions, shadings, coarse, width):
    n, side, size = 14, 24, torch.tensor([width - 12.0, 36.0])
    grid = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="xy"), -1).float() / (n - 1)
    bend = torch.rand(n, n, generator=generator) * 0.2 + 0.9
    index = torch.arange(n * n).view(n, n)
    a, b, c, d = (t.reshape(-1) for t in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    faces = torch.cat((torch.stack((a, b, c), 1), torch.stack((a, c, d), 1)))
    vertices = torch.cat((grid * size + 5 + torch.rand(n, n, 2, generator=generator), bend[..., None]), -1).view(-1, 3)
    points = torch.cat((grid, bend[..., None]), -1).view(-1, 3)
    maps = ops.pack_maps(
        torch.rand(side, side, 4, generator=generator),
        torch.randn(expressions, coarse, coarse, 4, generator=generator) * 0.1,
        torch.randn(shadings, 9, 9, 4, generator=generator) * 0.1,
    )
    weights, axes = torch.rand(expressions, generator=generator), torch.randn(shadings, 3, generator=generator)
    cover = torch.rand(n * n, 4, generator=generator) if shadings != 2 else None
    found = []
    for name in ("native", "reference"):
        with ops.backend.use(name):
            found.append(ops.shade_baked(
                vertices, faces, grid.view(-1, 2), faces, maps, weights, 44, width, points=points, axes=axes,
                background=torch.tensor([0.1, 0.5, 0.9]), cover=cover,
            ))  # fmt: skip
    mine, expected = found
    assert torch.allclose(mine.rgb, expected.rgb, atol=2e-5) and torch.allclose(mine.alpha, expected.alpha, atol=1e-5)
    assert torch.allclose(mine.depth, expected.depth, atol=1e-5)
    assert 0.15 < float(mine.alpha.mean()) < 0.9 and bool(((mine.alpha > 0.01) & (mine.alpha < 0.99)).any())


def test_a_map_that_covers_the_picture_is_the_picture(generator, backend):
    vertices, faces, uvs = square()
    base, moved = torch.rand(32, 32, 4, generator=generator) * 0.5, torch.rand(2, 32, 32, 4, generator=generator) * 0.2
    maps, behind = ops.pack_maps(base, moved, torch.zeros(0, 32, 32, 4)), torch.rand(3, generator=generator)
    drawn = ops.shade_baked(vertices, faces, uvs, faces, maps, torch.tensor([1.0, 0.5]), 32, 32, background=behind)
    colors, opacity = (base + moved[0] + 0.5 * moved[1]).split((3, 1), -1)
    assert torch.allclose(drawn.rgb, colors * opacity + behind * (1 - opacity), atol=1e-4)
    assert torch.allclose(drawn.alpha, opacity[..., 0], atol=1e-4) and torch.allclose(drawn.depth, torch.ones(32, 32))
    assert torch.allclose(maps.unpacked, moved, atol=1e-5)


def test_opacity_beyond_its_range_is_held(generator, backend):
    vertices, faces, uvs = square()
    base = torch.rand(32, 32, 4, generator=generator)
    base[..., 3] = torch.randn(32, 32, generator=generator) * 3
    none = torch.zeros(0, 32, 32, 4)
    drawn = ops.shade_baked(vertices, faces, uvs, faces, ops.pack_maps(base, none, none), torch.zeros(0), 32, 32)
    opacity = base[..., 3:].clamp(0, 1)
    assert torch.allclose(drawn.alpha, opacity[..., 0], atol=1e-3)
    assert torch.allclose(drawn.rgb, base[..., :3] * opacity + 1 - opacity, atol=1e-3)


def test_shading_follows_the_normal(generator, backend):
    vertices, faces, uvs = square()
    maps = ops.pack_maps(
        torch.tensor([0.5, 0.5, 0.5, 1.0]).expand(4, 4, 4), torch.zeros(0, 4, 4, 4),
        torch.tensor([0.3, 0.3, 0.3, 0.0]).expand(1, 4, 4, 4),
    )  # fmt: skip
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    points = torch.cat((vertices[:, :2] / 32, torch.zeros(4, 1)), 1) @ turn.T
    normal = torch.nn.functional.normalize(vertex_normals(points, faces)[0], dim=0)
    axis = torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0)
    drawn = ops.shade_baked(vertices, faces, uvs, faces, maps, torch.zeros(0), 8, 8, points=points, axes=axis[None])
    assert torch.allclose(drawn.rgb, 0.5 + 0.3 * (normal @ axis).expand(8, 8, 3), atol=1e-4)


def test_a_cover_shows_where_the_surface_turns_to_the_viewer(generator, backend):
    vertices, faces, uvs = square()
    none, begins = torch.zeros(0, 4, 4, 4), 0.6
    base = torch.rand(4, generator=generator)
    maps, color = ops.pack_maps(base.expand(4, 4, 4), none, none), torch.rand(3, generator=generator)
    cover = torch.cat((color, torch.tensor([begins]))).expand(4, 4)
    plain = ops.shade_baked(vertices, faces, uvs, faces, maps, torch.zeros(0), 8, 8)
    flat = torch.cat((vertices[:, :2] / 32 - 0.5, torch.zeros(4, 1)), 1) * 1e-3  # small: seen alike at every corner
    for cosine, share in ((0.5, 0.0), (begins + ops.baked.COVERED / 2, 0.5), (1.0, 1.0)):
        for side in (-1, 1):
            sine = side * (1 - cosine**2) ** 0.5
            turn = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
            points = flat @ turn.T + torch.tensor([0.0, 0.0, 1.0])
            drawn = ops.shade_baked(vertices, faces, uvs, faces, maps, torch.zeros(0), 8, 8, points=points, cover=cover)
            assert torch.allclose(drawn.rgb, torch.lerp(plain.rgb, color.expand(8, 8, 3), share), atol=5e-3)
            assert torch.allclose(drawn.alpha, torch.lerp(plain.alpha, torch.ones(8, 8), share), atol=5e-3)


def test_what_does_not_fit_is_refused():
    vertices, faces, uvs = square()
    maps = ops.pack_maps(torch.zeros(4, 4, 4), torch.zeros(2, 4, 4, 4), torch.zeros(1, 4, 4, 4))
    with pytest.raises(ValueError, match="2 weights and 1 axes of 3"):
        ops.shade_baked(vertices, faces, uvs, faces, maps, torch.zeros(2), 8, 8)
    with pytest.raises(ValueError, match="maps of"):
        ops.pack_maps(torch.zeros(4, 4, 3), torch.zeros(0, 4, 4, 3), torch.zeros(0, 4, 4, 3))
    with pytest.raises(ValueError, match="a cover of"):
        ops.shade_baked(vertices, faces, uvs, faces, maps, torch.zeros(2), 8, 8, points=vertices,
                        axes=torch.zeros(1, 3), cover=torch.zeros(3, 4))  # fmt: skip
    with pytest.raises(ValueError, match="outside"):
        ops.shade_baked(vertices, faces, uvs[:3], faces, ops.pack_maps(
            torch.zeros(4, 4, 4), torch.zeros(0, 4, 4, 4), torch.zeros(0, 4, 4, 4)), torch.zeros(0), 8, 8)  # fmt: skip
