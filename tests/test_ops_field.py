"""Hash grid, networks, field, compositing, sampling and optimiser: native against the torch reference."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
import torch

from headavatar import ops
from headavatar.ops.native import library
from headavatar.ops.reference.field import mlp as reference_mlp
from headavatar.ops.sampling import BACKING

needs_native = pytest.mark.skipif(library.load().handle is None, reason="the native library is not built")


def both(function, *tensors, **others):
    """Values and gradients of a weighted sum, by either backend."""
    results = []
    for name in ("native", "reference"):
        leaves = [t.clone().requires_grad_() if t.is_floating_point() else t for t in tensors]
        with ops.backend.use(name):
            out = function(*leaves, **others)
            outs = list(out) if isinstance(out, (tuple, list)) else [out]
            total = sum((o * torch.linspace(-1, 1, o.numel()).view_as(o)).sum() for o in outs)
            total.backward()
        results.append(([o.detach() for o in outs], [t.grad for t in leaves if t.is_floating_point()]))
    return results


def close(a, b, tolerance=1e-4):
    assert a is not None and b is not None
    scale = max(float(b.abs().max()), 1e-6)
    assert float((a - b).abs().max()) <= tolerance * scale


def compare(results, tolerance=1e-4):
    (values, grads), (expected, expected_grads) = results
    for a, b in zip(values, expected, strict=True):
        close(a, b, tolerance)
    for a, b in zip(grads, expected_grads, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            close(a, b, tolerance)


def off_kinks(x, weights):
    """(N,) points at which no hidden unit is so near 0 that rounding decides whether it lets gradients through."""
    keep = torch.ones(len(x), dtype=torch.bool)
    for weight in weights[:-1]:
        x = x @ weight.T
        keep &= (x.abs() > 1e-4).all(1)
        x = x.relu()
    return keep


def off_borders(x, spec):
    """(N,) points so far within their cells that rounding does not move them to the next, where the slope differs."""
    position = x[:, None] * torch.tensor(spec.scales)[:, None] + 0.5
    return ((position - position.round()).abs() > 1e-4).all(-1).all(-1)


SPECS = [
    ops.HashGridSpec(levels=8, features=2, log2_table=10, base_resolution=4, finest_resolution=64),
    ops.HashGridSpec(levels=5, features=4, log2_table=9, base_resolution=3, finest_resolution=40),
    ops.HashGridSpec(levels=3, features=1, log2_table=12, base_resolution=5, finest_resolution=15),
    ops.HashGridSpec(levels=2, features=8, log2_table=8, base_resolution=4, finest_resolution=32),
]


def test_paper_grid_has_its_published_size():
    spec = ops.HashGridSpec(16, 4, 14, 16, 1024)
    assert spec.nodes[:2] == (17, 23)
    assert spec.entries == 246456


@needs_native
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"F{s.features}")
@pytest.mark.parametrize("frames", [1, 3])
def test_hash_encode_agrees(generator, spec, frames):
    x = torch.rand(403, 3, generator=generator)
    x[0], x[1] = 0.0, 1.0
    x = x[off_borders(x, spec)]
    table = torch.randn(frames, spec.parameters, generator=generator)
    offsets = torch.tensor([0, 100, 100, len(x)]) if frames > 1 else None
    compare(both(lambda a, b: ops.hash_encode(a, b, spec, frame_offsets=offsets), x, table))


def test_hash_encode_gradients_match_finite_differences(generator):
    spec = ops.HashGridSpec(levels=2, features=2, log2_table=5, base_resolution=2, finest_resolution=4)
    x = torch.rand(6, 3, generator=generator, dtype=torch.float64) * 0.2 + 0.05
    table = torch.randn(spec.parameters, generator=generator, dtype=torch.float64)
    # A kink lies wherever a point changes cells; these cells' middles are far from one.
    x = (x * 4).floor() / 4 + 0.06
    assert torch.autograd.gradcheck(
        lambda a, b: ops.hash_encode(a, b, spec), (x.requires_grad_(), table.requires_grad_()), eps=1e-6
    )


@needs_native
@pytest.mark.parametrize("frames", [1, 4])
def test_blend_tables_agrees(generator, frames):
    weights = torch.randn(frames, 5, generator=generator)
    tables = torch.randn(5, 70001, generator=generator)
    compare(both(ops.blend_tables, weights, tables))
    assert ops.blend_tables(weights[0], tables).shape == (70001,)


@pytest.mark.parametrize("frames", [1, 3])
def test_tables_of_16_bit_numbers_blend_as_what_they_stand_for(generator, backend, frames):
    weights = torch.randn(frames, 5, generator=generator)
    tables = torch.randn(5, 3001, generator=generator).to(torch.bfloat16)
    assert torch.allclose(ops.blend_tables(weights, tables), weights @ tables.float(), atol=1e-5)
    with pytest.raises(ValueError, match="gradients"):
        ops.blend_tables(weights.requires_grad_(), tables)


@needs_native
@pytest.mark.parametrize("widths", [(32, 64, 16), (7, 13, 5, 3), (31, 64, 64, 64, 65), (1, 1), (80, 64, 3)])
@pytest.mark.parametrize("points", [1, 96, 1000])
def test_fused_mlp_agrees(generator, widths, points):
    weights = [torch.randn(o, i, generator=generator) / i**0.5 for i, o in zip(widths[:-1], widths[1:], strict=True)]
    x = torch.randn(points + 100, widths[0], generator=generator)
    x = x[off_kinks(x, weights)][:points]
    if widths == (1, 1):  # the one weight's gradient is one sum: its terms get one sign, or it may vanish
        x = x.abs() * torch.linspace(-1, 1, points)[:, None].sign()
    compare(both(lambda x, *w: ops.fused_mlp(x, w), x, *weights))


def field_inputs(generator, spec, geometry, ray_width, hidden, points=1500, rays=60, frames=2):
    net = [spec.width, *hidden, 1 + geometry]
    color = [geometry + ray_width, 64, 3]
    matrix = lambda i, o: torch.randn(o, i, generator=generator) * (2 / i) ** 0.5  # noqa: E731
    sigma_weights = [matrix(i, o) for i, o in zip(net[:-1], net[1:], strict=True)]
    color_weights = [matrix(i, o) for i, o in zip(color[:-1], color[1:], strict=True)]
    x = torch.rand(points, 3, generator=generator)
    table = torch.randn(frames, spec.parameters, generator=generator)
    features = torch.randn(rays, ray_width, generator=generator)
    index = torch.randint(0, rays, (points,), generator=generator).sort().values
    return x, table, features, index, sigma_weights, color_weights


@needs_native
@pytest.mark.parametrize(
    ("spec", "geometry", "ray_width", "hidden"),
    [(SPECS[0], 15, 16, (64,)), (SPECS[1], 64, 16, (64, 64, 64, 64)), (SPECS[0], 6, 0, (32, 32))],
)
def test_nerf_field_agrees(generator, spec, geometry, ray_width, hidden):
    x, table, features, index, sigma_weights, color_weights = field_inputs(generator, spec, geometry, ray_width, hidden)
    split = len(sigma_weights)
    offsets = torch.tensor([0, 700, len(x)])
    with ops.backend.use("reference"):
        encoded = ops.hash_encode(x, table, spec, frame_offsets=offsets)
    raw = reference_mlp(encoded, sigma_weights)
    keep = off_kinks(encoded, sigma_weights) & off_kinks(torch.cat((raw[:, 1:], features[index]), 1), color_weights)
    x, index, offsets = x[keep], index[keep], torch.tensor([0, int(keep[:700].sum()), int(keep.sum())])
    assert len(x) > 500
    results = both(
        lambda t, *w: ops.nerf_field(
            x, t, features, index, w[:split], w[split:], spec, frame_offsets=offsets, density_scale=30.0
        ),
        table, *sigma_weights, *color_weights,
    )  # fmt: skip
    compare(results)


@needs_native
@pytest.mark.parametrize("trained", ["everything", "positions", "tables"])
def test_nerf_field_gives_positions_their_gradients(generator, trained):
    spec = SPECS[0]
    x, table, features, index, sigma_weights, color_weights = field_inputs(generator, spec, 15, 16, (64,))
    x[:20] = x[:20] * 3 - 1  # some lie outside, and move nothing
    with ops.backend.use("reference"):
        encoded = ops.hash_encode(x, table[0], spec)
    raw = reference_mlp(encoded, sigma_weights)
    keep = off_kinks(encoded, sigma_weights) & off_kinks(torch.cat((raw[:, 1:], features[index]), 1), color_weights)
    keep &= off_borders(x.clamp(0, 1), spec)
    x, index = x[keep], index[keep]
    assert len(x) > 500
    field = lambda x, t, *w: ops.nerf_field(x, t, features, index, w[:2], w[2:], spec, density_scale=3.0)  # noqa: E731
    leaves = (x, table[0], *sigma_weights, *color_weights)
    if trained == "everything":
        compare(both(field, *leaves))
    elif trained == "positions":
        compare(both(lambda x: field(x, *leaves[1:]), x))
    else:
        compare(both(lambda t: field(x, t, *leaves[2:]), table[0]))


def test_gradients_of_positions_match_finite_differences(generator):
    spec = ops.HashGridSpec(levels=3, features=2, log2_table=6, base_resolution=3, finest_resolution=11)
    x, table, features, index, sigma_weights, color_weights = (
        [w.double() for w in t] if isinstance(t, list) else (t.double() if t.is_floating_point() else t)
        for t in field_inputs(generator, spec, 5, 4, (16,), points=400)
    )
    encoded = ops.hash_encode(x, table[0], spec)
    raw = reference_mlp(encoded, sigma_weights)
    inputs = torch.cat((raw[:, 1:], features[index]), 1)
    far = lambda x, weights: (x @ weights[0].T).abs().amin(1) > 1e-3  # noqa: E731
    keep = off_borders(x.float(), spec) & far(encoded, sigma_weights) & far(inputs, color_weights)
    x, index = x[keep][:20], index[keep][:20]
    assert len(x) == 20
    assert torch.autograd.gradcheck(
        lambda x: ops.nerf_field(x, table[0], features, index, sigma_weights, color_weights, spec),
        (x.requires_grad_(),), eps=1e-7, atol=1e-4,
    )  # fmt: skip


@needs_native
def test_field_stays_finite_where_densities_are_extreme(generator):
    spec = SPECS[0]
    x, table, features, index, sigma_weights, color_weights = field_inputs(generator, spec, 15, 16, (64,))
    results = both(
        lambda t: ops.nerf_field(x, t, features, index, sigma_weights, color_weights, spec,
                                 frame_offsets=torch.tensor([0, 700, len(x)])),
        table * 1e4,
    )  # fmt: skip
    (values, grads), (expected, _) = results
    assert all(torch.isfinite(v).all() for v in (*values, *grads))
    close(values[0], expected[0], 1e-4)


def random_rays(generator, rays=300, most=40):
    counts = torch.randint(0, most, (rays,), generator=generator)
    counts[:2] = 0
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0)))
    n = int(offsets[-1])
    sigma = torch.rand(n, generator=generator) ** 4 * 300
    deltas = torch.rand(n, generator=generator) * 0.02
    return sigma, torch.rand(n, 3, generator=generator), deltas, torch.rand(n, generator=generator), offsets


@needs_native
def test_composite_agrees(generator):
    sigma, rgb, deltas, distances, offsets = random_rays(generator)
    results = both(lambda s, c: tuple(vars(ops.composite(s, c, deltas, distances, offsets)).values()), sigma, rgb)
    compare(results)


def test_composite_gradients_match_finite_differences(generator):
    sigma, rgb, deltas, distances, offsets = (t.double() if t.is_floating_point() else t for t in
                                              random_rays(generator, rays=5, most=5))  # fmt: skip
    sigma = sigma.clamp_max(50)  # far from the early stop, which is a step
    function = lambda s, c: tuple(vars(ops.composite(s, c, deltas, distances, offsets)).values())  # noqa: E731
    assert torch.autograd.gradcheck(function, (sigma.requires_grad_(), rgb.requires_grad_()))


@pytest.mark.parametrize("name", ["native", "reference"])
def test_composite_of_an_opaque_first_sample_hides_the_rest(name):
    if name == "native" and library.load().handle is None:
        pytest.skip("the native library is not built")
    with ops.backend.use(name):
        out = ops.composite(
            torch.tensor([1e4, 1e4]), torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 9.0]]), torch.ones(2),
            torch.tensor([2.0, 3.0]), torch.tensor([0, 2, 2]),
        )  # fmt: skip
    assert torch.allclose(out.rgb, torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]]))
    assert out.alpha.tolist() == [1.0, 0.0] and out.depth.tolist() == [2.0, 0.0]


def ray_bundle(generator, rays=500):
    origins = torch.randn(rays, 3, generator=generator) * 0.05 + torch.tensor([0.0, 0.0, 2.0])
    targets = torch.rand(rays, 3, generator=generator) - 0.5
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    directions[0] = torch.tensor([0.0, 0.0, -1.0])
    near = torch.rand(rays, generator=generator) + 1.0
    far = near + torch.rand(rays, generator=generator) * 2 - 0.2
    return origins, directions, near, far, torch.full((3,), -0.5), torch.full((3,), 0.5)


@needs_native
@pytest.mark.parametrize("with_grid", ["none", "occupied", "backed"])
@pytest.mark.parametrize("min_step", [0.0, 0.03])
def test_sample_rays_agrees(generator, with_grid, min_step):
    origins, directions, near, far, low, high = ray_bundle(generator)
    grid = torch.rand(16, 16, 16, generator=generator) < 0.2 if with_grid != "none" else None
    if with_grid == "backed":
        backing = torch.rand(16, 16, 16, generator=generator) < 0.3
        grid = torch.where(backing & ~grid, BACKING, grid.to(torch.uint8)).to(torch.uint8)
    found = []
    for name in ("native", "reference"):
        with ops.backend.use(name):
            found.append(
                ops.sample_rays(origins, directions, near, far, 8, low=low, high=high, occupancy=grid,
                                min_step=min_step, seed=3, step=17)
            )  # fmt: skip
    for a, b in zip(vars(found[0]).values(), vars(found[1]).values(), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


@pytest.mark.parametrize("name", ["native", "reference"])
def test_samples_lie_in_occupied_cells_and_cover_them(generator, name):
    if name == "native" and library.load().handle is None:
        pytest.skip("the native library is not built")
    origins, directions, near, far, low, high = ray_bundle(generator)
    grid = torch.zeros(8, 8, 8, dtype=torch.bool)
    grid[:, :, :4] = True  # the half with z < 0
    arguments = {"low": low, "high": high, "occupancy": grid, "probes": 256, "seed": 1}
    with ops.backend.use(name):
        rays = ops.sample_rays(origins, directions, near - 3, far + 3, 6, step=0, **arguments)
        again = ops.sample_rays(origins, directions, near - 3, far + 3, 6, step=0, **arguments)
        other = ops.sample_rays(origins, directions, near - 3, far + 3, 6, step=1, **arguments)
    assert torch.equal(rays.positions, again.positions) and not torch.equal(rays.positions, other.positions)
    assert len(rays.positions) > 1000
    assert float(rays.positions[:, 2].max()) < 0.5 + 0.02
    within = rays.ray_index[1:] == rays.ray_index[:-1]
    assert bool((rays.distances.diff()[within] > 0).all())
    world = origins[rays.ray_index.long()] + rays.distances[:, None] * directions[rays.ray_index.long()]
    assert torch.allclose(world, rays.positions - 0.5, atol=1e-5)


@pytest.mark.parametrize("name", ["native", "reference"])
def test_backing_is_sampled_behind_what_is_occupied_and_changes_nothing_before_it(generator, name):
    if name == "native" and library.load().handle is None:
        pytest.skip("the native library is not built")
    origins, directions, near, far, low, high = ray_bundle(generator)
    occupied = torch.rand(16, 16, 16, generator=generator) < 0.1
    grid = occupied.to(torch.uint8)
    backed = torch.where(occupied, 1, torch.where(torch.rand(16, 16, 16, generator=generator) < 0.5, BACKING, 0))
    named = {"low": low, "high": high, "jitter": False, "probes": 128}
    with ops.backend.use(name):
        bare = ops.sample_rays(origins, directions, near, far, 9, occupancy=grid, **named)
        more = ops.sample_rays(origins, directions, near, far, 9, occupancy=backed.to(torch.uint8), **named)
        plain = ops.sample_rays(origins, directions, near, far, 9, occupancy=occupied, **named)
        alone = ops.sample_rays(origins, directions, near, far, 9, occupancy=torch.full_like(grid, BACKING), **named)
    assert torch.equal(plain.positions, bare.positions) and len(alone.positions) == 0
    before, now = bare.ray_offsets.diff(), more.ray_offsets.diff()
    assert torch.equal(before == 0, now == 0) and bool((now >= before).all()) and int(now.max()) > 9
    # As long as before or a little shorter, for the last sample is a whole one.
    met = before > 0
    length, was = more.deltas[more.ray_offsets[:-1][met]], bare.deltas[bare.ray_offsets[:-1][met]]
    assert bool((length <= was * 1.00001).all())
    assert bool((length * now[met] > was * (now[met] - 1) * 0.99999).all())


@needs_native
@pytest.mark.parametrize("moments", ["float32", "bfloat16"])
def test_rank_one_adam_agrees(generator, moments):
    start = torch.randn(4, 5003, generator=generator)
    steps = [
        [(torch.randn(4, generator=generator), torch.randn(5003, generator=generator)) for _ in range(count)]
        for count in (1, 3, 2)
    ]
    l1 = torch.tensor([0.0, 0.1, 0.0, 0.2])
    ends = []
    at_zero = torch.zeros_like(start, dtype=torch.bool)
    for name in ("native", "reference"):
        optimizer = ops.RankOneAdam(start.clone(), lr=0.01, l1=l1.tolist(), moments=moments)
        with ops.backend.use(name):
            for step in steps:
                # rounding decides on which side of zero such a value lies, and so which way L1 pulls it
                at_zero |= (optimizer.tables.abs() < 1e-6) & (l1[:, None] > 0)
                optimizer.step(step)
        ends.append(optimizer.tables)
    moved = float((ends[0] - start).abs().mean())
    assert moved > 1e-3
    # A value in the middle between two of bfloat16's may be rounded either way, which moves few entries by a little.
    difference = (ends[0] - ends[1]).abs()
    assert float(difference.mean()) < 1e-4 * moved
    assert int(at_zero.sum()) < 5
    assert float(difference[~at_zero].max()) < (1e-2 if moments == "float32" else 0.2) * moved


def test_rank_one_adam_is_torch_adam_on_the_outer_product(generator):
    start = torch.randn(3, 50, generator=generator)
    parameter = start.clone().requires_grad_()
    theirs = torch.optim.Adam([parameter], lr=0.01, betas=(0.9, 0.99), eps=1e-15)
    ours = ops.RankOneAdam(start.clone(), lr=0.01)
    for _ in range(4):
        pairs = [(torch.randn(3, generator=generator), torch.randn(50, generator=generator)) for _ in range(2)]
        parameter.grad = sum(torch.outer(c, g) for c, g in pairs)
        theirs.step()
        ours.step(pairs)
    assert torch.allclose(ours.tables, parameter.detach(), atol=1e-5)


def test_rank_one_adam_resumes_bit_for_bit(generator):
    pairs = [[(torch.randn(3, generator=generator), torch.randn(50, generator=generator))] for _ in range(4)]
    whole = ops.RankOneAdam(torch.ones(3, 50), lr=0.01)
    for step in pairs:
        whole.step(step)
    first = ops.RankOneAdam(torch.ones(3, 50), lr=0.01)
    for step in pairs[:2]:
        first.step(step)
    second = ops.RankOneAdam(first.tables.clone(), lr=0.01)
    second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
    for step in pairs[2:]:
        second.step(step)
    assert torch.equal(whole.tables, second.tables)


def train_digest() -> str:
    """A digest of every kernel's values and gradients on fixed numbers."""
    generator = torch.Generator().manual_seed(5)
    spec = SPECS[0]
    x, table, features, index, sigma_weights, color_weights = field_inputs(generator, spec, 15, 16, (64,), points=9000)
    sigma, rgb, deltas, distances, offsets = random_rays(generator)
    digest = hashlib.sha256()
    leaves = [t.requires_grad_() for t in (table, *sigma_weights, *color_weights)]
    density, color = ops.nerf_field(x, leaves[0], features, index, leaves[1:3], leaves[3:], spec,
                                    frame_offsets=torch.tensor([0, 4000, 9000]))  # fmt: skip
    count = min(len(sigma), len(x))
    offsets = offsets.clamp_max(count)
    out = ops.composite(density[:count], color[:count], deltas[:count], distances[:count], offsets)
    (out.rgb.sum() + out.alpha.sin().sum()).backward()
    optimizer = ops.RankOneAdam(torch.zeros(2, spec.parameters), lr=0.01)
    optimizer.step([(torch.tensor([1.0, 0.5]), leaves[0].grad[0]), (torch.tensor([1.0, -0.5]), leaves[0].grad[1])])
    vertices = torch.rand(200, 3, generator=generator) * 60 + 1
    faces = torch.randint(0, 200, (300, 3), generator=generator)
    vertices.requires_grad_()
    fragments = ops.rasterize(vertices, faces, 70, 80)
    picture = ops.interpolate(torch.rand(200, 4, generator=generator), faces, fragments)
    (picture.square().sum() + fragments.depth.sum()).backward()
    blended = ops.blend_tables(torch.rand(2, 2, generator=generator), optimizer.tables)
    for t in (out.rgb, *(leaf.grad for leaf in leaves), optimizer.tables, picture, vertices.grad, blended):
        digest.update(t.detach().numpy().tobytes())
    return digest.hexdigest()


@needs_native
def test_results_do_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    digests = set()
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            assert library.handle().ha_threads() == threads
            digests.add(train_digest())
    finally:
        torch.set_num_threads(before)
    assert len(digests) == 1


@needs_native
def test_every_variant_of_this_processor_agrees():
    best = library.VARIANTS.index(library.isa())
    code = (
        "import pytest, sys; from headavatar.ops.native import library; assert library.isa() == sys.argv[1];"
        "sys.exit(pytest.main(['-q', '-x', '-k', 'agrees and not variant', 'tests/test_ops_field.py']))"
    )
    for isa in library.VARIANTS[:best]:
        done = subprocess.run(
            [sys.executable, "-c", code, isa], env={**os.environ, "HEADAVATAR_ISA": isa}, capture_output=True,
            text=True, cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
