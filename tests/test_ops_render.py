"""Rendering in one call: the native kernel against sampling, field and compositing one after the other."""

from __future__ import annotations

import pytest
import torch

from headavatar import ops
from headavatar.ops.native import library
from headavatar.ops.sampling import BACKING

needs_native = pytest.mark.skipif(library.load().handle is None, reason="the native library is not built")
SPEC = ops.HashGridSpec(levels=6, features=2, log2_table=10, base_resolution=4, finest_resolution=48)


def scene(generator, rays, bands, *, geometry=15, spec=SPEC, density=30.0):
    """Rays towards a box around the origin, and a field of random tables and networks."""
    matrix = lambda i, o: torch.randn(o, i, generator=generator) * (2 / i) ** 0.5  # noqa: E731
    origins = torch.randn(rays, 3, generator=generator) * 0.05 + torch.tensor([0.0, 0.0, 2.0])
    targets = torch.rand(rays, 3, generator=generator) * 1.4 - 0.7
    box = {"low": torch.full((3,), -0.5), "high": torch.full((3,), 0.5)}
    return (
        origins, torch.nn.functional.normalize(targets - origins, dim=-1), torch.ones(rays), torch.full((rays,), 3.0),
        torch.randn(spec.parameters, generator=generator), [matrix(spec.width, 64), matrix(64, 1 + geometry)],
        [matrix(geometry + bands**2, 64), matrix(64, 3)], spec,
    ), box | {"bands": bands, "density_scale": density}  # fmt: skip


def both(arguments, named):
    pictures = []
    for name in ("native", "reference"):
        with ops.backend.use(name):
            pictures.append(ops.render_rays(*arguments, **named))
    return pictures


@needs_native
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("density", [0.3, 30.0, 3000.0])
def test_pictures_agree(generator, bands, density):
    arguments, named = scene(generator, 2500, bands, density=density)
    grid = torch.rand(16, 16, 16, generator=generator) < 0.3
    native, reference = both(arguments, named | {"samples": 9, "occupancy": grid, "min_step": 0.02})
    assert 0 < float(reference.alpha.max()) < 1.0001 and float((reference.alpha == 0).float().mean()) > 0.05
    # What is left behind a ray's end is below 1e-4; rounding may end it a sample earlier or later.
    assert float((native.rgb - reference.rgb).abs().max()) < 3e-4
    assert float((native.alpha - reference.alpha).abs().max()) < 3e-4
    assert float((native.depth - reference.depth).abs().max()) < 1e-3
    assert float((native.rgb - reference.rgb).abs().mean()) < 2e-6


@needs_native
def test_pictures_of_backed_voxels_agree(generator):
    arguments, named = scene(generator, 2000, 3, density=10.0)
    occupied, backing = torch.rand(2, 16, 16, 16, generator=generator) < 0.15
    grid = torch.where(occupied, 1, torch.where(backing, BACKING, 0)).to(torch.uint8)
    native, reference = both(arguments, named | {"samples": 6, "occupancy": grid, "min_step": 0.02})
    bare = ops.render_rays(*arguments, samples=6, occupancy=occupied, min_step=0.02, **named)
    assert float((native.rgb - reference.rgb).abs().max()) < 3e-4
    assert float((native.depth - reference.depth).abs().max()) < 1e-3
    placed = {name: named[name] for name in ("low", "high")}
    met = ops.sample_rays(*arguments[:4], 6, occupancy=occupied, jitter=False, **placed).ray_offsets.diff() > 0
    assert not native.alpha[~met].any() and float((native.alpha - bare.alpha).max()) > 0.05


@needs_native
def test_cells_that_are_kept_give_the_same_pictures(generator):
    arguments, named = scene(generator, 1500, 2, density=10.0)
    occupied, backing = torch.rand(2, 13, 13, 13, generator=generator) < 0.2
    for grid in (occupied, torch.where(occupied, 1, torch.where(backing, BACKING, 0)).to(torch.uint8)):
        once = ops.render_rays(*arguments, samples=6, occupancy=grid, **named)
        cells = ops.Cells(grid)
        for name in ("native", "native", "reference"):
            with ops.backend.use(name):
                again = ops.render_rays(*arguments, samples=6, occupancy=cells, **named)
            assert torch.equal(again.rgb, once.rgb) or name == "reference"
            assert float((again.rgb - once.rgb).abs().max()) < 3e-4


@needs_native
def test_what_is_left_of_an_opaque_ray_looks_like_what_was_seen(generator):
    arguments, named = scene(generator, 3000, 4, density=400.0)
    native, reference = both(arguments, named | {"samples": 12, "opaque": 0.05})
    exact = ops.render_rays(*arguments, samples=12, **named)
    ended, clear = exact.alpha > 0.95 + 1e-4, exact.alpha < 0.95 - 1e-4
    assert bool(ended.any())
    for picture in (native, reference):
        assert float((picture.alpha[ended] - 1).abs().max()) < 1e-5
        assert float((picture.rgb - exact.rgb).abs().max()) < 0.06
        assert torch.allclose(picture.rgb[clear], exact.rgb[clear], atol=3e-4)


@needs_native
@pytest.mark.parametrize(
    ("rays", "samples", "probes", "side"), [(0, 4, 64, 8), (1, 1, 1, 3), (77, 50, 100, 7), (3000, 3, 13, 0)]
)
def test_any_number_of_rays_samples_and_probes(generator, rays, samples, probes, side):
    arguments, named = scene(generator, rays, 4)
    grid = torch.rand(side, side, side, generator=generator) < 0.6 if side else None
    native, reference = both(arguments, named | {"samples": samples, "probes": probes, "occupancy": grid})
    assert native.rgb.shape == (rays, 3)
    if rays:
        assert float((native.rgb - reference.rgb).abs().max()) < 3e-4
        assert float((native.alpha - reference.alpha).abs().max()) < 3e-4


@needs_native
def test_the_picture_does_not_depend_on_the_number_of_threads_or_on_its_neighbors(generator):
    arguments, named = scene(generator, 4000, 4)
    grid = torch.rand(16, 16, 16, generator=generator) < 0.3
    named |= {"samples": 10, "occupancy": grid}
    before = torch.get_num_threads()
    try:
        pictures = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            pictures.append(ops.render_rays(*arguments, **named))
    finally:
        torch.set_num_threads(before)
    part = ops.render_rays(*(t[1234:2345] for t in arguments[:4]), *arguments[4:], **named)
    for picture in pictures[1:]:
        assert torch.equal(picture.rgb, pictures[0].rgb) and torch.equal(picture.depth, pictures[0].depth)
    assert torch.equal(part.rgb, pictures[0].rgb[1234:2345])


def smooth_scene(generator, columns, rows):
    """A picture of a field that changes slowly, seen from one point."""
    spec = ops.HashGridSpec(levels=2, features=2, log2_table=12, base_resolution=3, finest_resolution=6)
    arguments, named = scene(generator, columns * rows, 2, spec=spec, density=8.0)
    v, u = torch.meshgrid(torch.linspace(-0.6, 0.6, rows), torch.linspace(-0.6, 0.6, columns), indexing="ij")
    toward = torch.stack([u, v, torch.full_like(u, -1.6)], -1).reshape(-1, 3)
    origins = torch.tensor([0.0, 0.0, 2.0]).expand(columns * rows, 3)
    gentle = arguments[4] * 0.05
    rays = origins, torch.nn.functional.normalize(toward, dim=1), *arguments[2:4]
    return (*rays, gentle, *arguments[5:]), named | {"samples": 16}


HALF_STEPS = {-3: -1 / 16, -1: 9 / 16, 1: 9 / 16, 3: -1 / 16}
"""The cubic through four values, at their middle."""


@pytest.mark.parametrize("size", [(65, 48), (7, 7), (3, 3), (2, 7), (40, 1)])
def test_pixels_between_neighbors_that_agree_lie_on_a_surface_through_them(generator, size):
    columns, rows = size
    arguments, named = smooth_scene(generator, columns, rows)
    exact = ops.render_rays(*arguments, **named)
    seen = ops.render_rays(*arguments, columns=columns, agreement=0.03, **named)
    assert bool((seen.rgb <= seen.alpha[:, None] + 1e-6).all()), "no light from nothing"
    changed = ((seen.rgb - exact.rgb).abs().amax(1) > 0).reshape(rows, columns)
    edge = torch.ones(rows, columns, dtype=torch.bool)
    edge[3:-3, 3:-3] = False
    assert not changed[edge].any() and not changed[::2, ::2].any()
    if columns > 40:
        assert float(changed.float().mean()) > 0.05
        assert float((seen.rgb - exact.rgb).abs().mean()) < 0.005
    picture = seen.rgb.reshape(rows, columns, 3)
    for y, x in torch.nonzero(changed)[:200].tolist():
        (a, b), (c, d) = ((2, 0), (0, 2)) if x % 2 and y % 2 else ((1, 1), (1, -1))
        surface, around = torch.zeros(3), []
        for i, weight in HALF_STEPS.items():
            for j, other in HALF_STEPS.items():
                color = picture[y + (i * a + j * c) // 2, x + (i * b + j * d) // 2]
                surface += weight * other * color
                if i * i == j * j == 1:
                    around.append(color)
        nearest = torch.stack(around)
        opacity = seen.alpha.reshape(rows, columns)[y, x]
        assert torch.allclose(picture[y, x], surface.clamp_min(0).minimum(opacity), atol=1e-6)
        assert float((nearest.amax(0) - nearest.amin(0)).max()) <= 0.03 + 1e-6
        assert float((surface - nearest.mean(0)).abs().max()) <= 0.03 / 20 + 1e-6


@needs_native
def test_both_backends_follow_the_same_rays(generator):
    arguments, named = smooth_scene(generator, 60, 44)
    native, reference = both(arguments, named | {"columns": 60, "agreement": 0.03})
    difference = (native.rgb - reference.rgb).abs().amax(1)
    # Rounding decides where neighbors differ by just as much as they may, and others follow from these.
    assert float((difference > 3e-4).float().mean()) < 0.01
    assert float(difference.max()) < 0.03


def test_shapes_that_do_not_fit_are_refused(generator):
    arguments, named = scene(generator, 10, 4)
    with pytest.raises(ValueError, match="near"):
        ops.render_rays(*arguments[:2], arguments[2][:5], *arguments[3:], samples=4, **named)
    with pytest.raises(ValueError, match="layer"):
        ops.render_rays(*arguments, samples=4, **(named | {"bands": 3}))
    with pytest.raises(ValueError, match="rows"):
        ops.render_rays(*arguments, samples=4, columns=3, **named)
    with pytest.raises(ValueError, match="cube"):
        ops.render_rays(*arguments, samples=4, occupancy=torch.ones(2, 3, 2, dtype=torch.bool), **named)
