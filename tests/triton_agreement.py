"""Every Triton kernel against the torch reference, in values and gradients; test_ops_triton.py runs this file.

With TRITON_INTERPRET=1 the kernels run on CPU tensors, else on the card.
"""

from __future__ import annotations

import dataclasses
import os
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from headavatar import ops
from headavatar.ops.cuda import hashgrid, network, tcnn
from headavatar.ops.reference.field import mlp

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
SPEC = ops.HashGridSpec(levels=3, features=2, log2_table=9, base_resolution=4, finest_resolution=32)
"""Its first level is dense, the others are hashed."""

if INTERPRETED:
    from triton.runtime.interpreter import interpreter_builder

    # Checking every sum for overflow takes half of the interpreter's time; larger blocks save it programs.
    interpreter_builder.options = dataclasses.replace(interpreter_builder.options, sanitize_overflow=False)
    hashgrid.BLOCK = 512


@pytest.fixture
def generator() -> torch.Generator:
    seed = torch.seed() % 2**31
    print(f"seed {seed}")
    return torch.Generator().manual_seed(seed)


def by(name, function, *tensors):
    """Values and gradients of a weighted sum under a backend."""
    leaves = [t.to(DEVICE, copy=True).requires_grad_() for t in tensors]
    with ops.backend.use(name):
        outs = function(*leaves)
        outs = list(outs) if isinstance(outs, tuple) else [outs]
        sum((o * torch.linspace(-1, 1, o.numel(), device=DEVICE).view_as(o)).sum() for o in outs).backward()
    return [o.detach() for o in outs] + [t.grad for t in leaves]


def agree(function, *tensors, tolerance=1e-4):
    for ours, theirs in zip(by("triton", function, *tensors), by("reference", function, *tensors), strict=True):
        close(ours, theirs, tolerance)


def close(ours, theirs, tolerance=1e-4):
    assert ours is not None and theirs is not None and ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * max(float(theirs.abs().max()), 1e-6)


def matrices(generator, *sizes):
    return [torch.randn(o, i, generator=generator) * (2 / i) ** 0.5 for i, o in zip(sizes[:-1], sizes[1:], strict=True)]


def off_kinks(x, weights):
    """(N,) points at which no hidden unit is so near 0 that rounding decides whether it lets gradients through."""
    keep = torch.ones(len(x), dtype=torch.bool)
    for weight in weights[:-1]:
        x = x @ weight.T
        keep &= (x.abs() > 1e-4).all(1)
        x = x.relu()
    return keep


@pytest.mark.parametrize(("features", "frames"), [(1, 1), (2, 3), (3, 1), (4, 3)])
def test_hash_encode(generator, features, frames):
    spec = dataclasses.replace(SPEC, features=features)
    # Far from where cells meet, since the gradient to a point jumps there.
    x = torch.rand(150, 3, generator=generator) * 1.2 - 0.1
    for scale in spec.scales:
        place = (x.clamp(0, 1) * scale + 0.5) % 1
        x = torch.where(((place - 0.5).abs() > 0.499) | (x.abs() < 1e-3) | ((x - 1).abs() < 1e-3), 0.4321, x)
    table = torch.randn(frames, spec.parameters, generator=generator)
    offsets = torch.tensor([0, 60, 60, 150], device=DEVICE) if frames > 1 else None
    agree(lambda a, b: ops.hash_encode(a, b, spec, frame_offsets=offsets), x, table)


def test_the_corners_of_the_box_belong_to_it(generator):
    corners = torch.tensor([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)], device=DEVICE)
    table = torch.randn(SPEC.parameters, generator=generator).to(DEVICE)
    found = []
    for name in ("triton", "reference"):
        with ops.backend.use(name):
            found.append(ops.hash_encode(corners, table, SPEC))
    close(*found)


@pytest.mark.parametrize("frames", [1, 3])
def test_blend_tables(generator, frames):
    weights, tables = torch.randn(frames, 5, generator=generator), torch.randn(5, 3001, generator=generator)
    agree(ops.blend_tables, weights, tables)


@pytest.mark.parametrize(
    ("widths", "points"),
    [((32, 64, 16), 1), ((7, 13, 13, 3), 150), ((31, 64, 64, 64, 65), 90), ((5, 3), 90), ((80, 20, 64, 3), 90)],
)
def test_fused_mlp(generator, widths, points):
    weights = matrices(generator, *widths)
    x = torch.randn(points, widths[0], generator=generator)
    agree(lambda x, *w: ops.fused_mlp(x, w), x[off_kinks(x, weights)], *weights)


@pytest.mark.parametrize(("geometry", "ray_width", "hidden"), [(15, 16, (64,)), (6, 0, (32, 32)), (4, 9, ())])
def test_nerf_field(generator, geometry, ray_width, hidden):
    sigma_weights = matrices(generator, SPEC.width, *hidden, 1 + geometry)
    color_weights = matrices(generator, geometry + ray_width, *(hidden and (48,)), 3)
    x = torch.rand(160, 3, generator=generator) * 0.9 + 0.05
    table = torch.randn(2, SPEC.parameters, generator=generator)
    features = torch.randn(9, ray_width, generator=generator)
    index = torch.randint(0, 9, (160,), generator=generator).sort().values
    with ops.backend.use("reference"):
        encoded = ops.hash_encode(x, table, SPEC, frame_offsets=torch.tensor([0, 70, 160]))
    raw = mlp(encoded, sigma_weights)
    keep = off_kinks(encoded, sigma_weights) & off_kinks(torch.cat((raw[:, 1:], features[index]), 1), color_weights)
    for scale in SPEC.scales:
        keep &= (((x * scale + 0.5) % 1 - 0.5).abs() < 0.499).all(1)
    offsets = torch.tensor([0, int(keep[:70].sum()), int(keep.sum())], device=DEVICE)
    index, features = index[keep].int().to(DEVICE), features.to(DEVICE)
    assert len(index) > 30
    split = len(sigma_weights)
    agree(
        lambda x, t, *w: ops.nerf_field(
            x, t, features, index, w[:split], w[split:], SPEC, frame_offsets=offsets, density_scale=30.0
        ),
        x[keep], table, *sigma_weights, *color_weights,
    )  # fmt: skip


def test_what_lies_behind_the_last_frame_has_neither_density_nor_gradients(generator):
    weights = [w.to(DEVICE) for w in (*matrices(generator, SPEC.width, 32, 8), *matrices(generator, 7, 32, 3))]
    x = torch.rand(90, 3, generator=generator).to(DEVICE)
    table = torch.randn(1, SPEC.parameters, generator=generator).to(DEVICE)
    features, index = torch.zeros(1, 0, device=DEVICE), torch.zeros(90, dtype=torch.int32, device=DEVICE)

    def run(count, points):
        leaves = [t.clone().requires_grad_() for t in (table, *weights)]
        with ops.backend.use("triton"):
            sigma, rgb = ops.nerf_field(
                points, leaves[0], features, index[: len(points)], leaves[1:3], leaves[3:], SPEC,
                frame_offsets=torch.tensor([0, count], device=DEVICE),
            )  # fmt: skip
            (sigma.sum() + rgb.square().sum()).backward()
        return sigma, rgb, [leaf.grad for leaf in leaves]

    sigma, rgb, grads = run(50, x)
    alone = run(50, x[:50])
    assert not sigma[50:].any() and not rgb[50:].any() and bool((sigma[:50] > 0).all())
    for ours, theirs in zip((sigma[:50], rgb[:50], *grads), (alone[0], alone[1], *alone[2]), strict=True):
        close(ours, theirs, 1e-5)


def test_composite(generator):
    counts = torch.randint(0, 12, (70,), generator=generator)
    counts[:2] = 0
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0))).to(DEVICE)
    n = int(offsets[-1])
    sigma = torch.rand(n, generator=generator) ** 4 * 300
    deltas, distances = (torch.rand(2, n, generator=generator) * torch.tensor([[0.02], [1.0]])).to(DEVICE)
    agree(
        lambda s, c: tuple(vars(ops.composite(s, c, deltas, distances, offsets)).values()),
        sigma, torch.rand(n, 3, generator=generator), tolerance=2e-4,
    )  # fmt: skip


def test_thin_samples_keep_their_digits(generator):
    sigma = 10 ** (torch.rand(40, generator=generator) * 6 - 6)
    ones, offsets = torch.ones(40, device=DEVICE), torch.arange(41, device=DEVICE)
    with ops.backend.use("triton"):
        alpha = ops.composite(sigma.to(DEVICE), torch.ones(40, 3, device=DEVICE), ones, ones, offsets).alpha.cpu()
    exact = -torch.expm1(-sigma.double())
    assert float(((alpha - exact) / exact).abs().max()) < 1e-5


def bundle(generator, rays=130):
    origins = torch.randn(rays, 3, generator=generator) * 0.05 + torch.tensor([0.0, 0.0, 2.0])
    directions = torch.nn.functional.normalize(torch.rand(rays, 3, generator=generator) - 0.5 - origins, dim=-1)
    directions[0] = torch.tensor([0.0, 0.0, -1.0])
    origins[1], directions[1] = torch.tensor([-0.5, 0.0, 2.0]), torch.tensor([0.0, 0.0, -1.0])  # within a side
    near = torch.rand(rays, generator=generator) + 1.0
    far = near + torch.rand(rays, generator=generator) * 2 - 0.2
    return origins, directions, near, far


@pytest.mark.parametrize(
    ("with_grid", "min_step", "jitter"),
    [(False, 0.03, True), (True, 0.0, False), (True, 0.0, True), (True, 0.03, True)],
)
def test_sample_rays_to_the_last_bit(generator, with_grid, min_step, jitter):
    tensors = bundle(generator)
    grid = torch.rand(16, 16, 16, generator=generator) < 0.2 if with_grid else None
    low, seed = torch.tensor([-0.5, -0.45, -0.5]), int(torch.randint(0, 2**40, (1,), generator=generator))

    def run(device, name):
        with ops.backend.use(name):
            return ops.sample_rays(
                *(t.to(device) for t in tensors), 7, low=low, high=-low, min_step=min_step, seed=seed, step=17,
                occupancy=None if grid is None else grid.to(device), jitter=jitter,
            )  # fmt: skip

    ours, theirs = run(DEVICE, "triton"), run("cpu", "reference")
    count = len(theirs.positions)
    assert count > 100
    for name, tensor in vars(theirs).items():
        mine = getattr(ours, name).cpu()
        assert mine.dtype == tensor.dtype
        if name == "ray_offsets":
            assert torch.equal(mine, tensor)
        else:
            assert torch.equal(mine[:count], tensor), name
            assert len(mine) == 7 * len(tensors[0]) and not mine[count:].any(), name


@pytest.mark.parametrize("moments", ["float32", "bfloat16"])
def test_rank_one_adam(generator, moments):
    start = torch.randn(4, 2003, generator=generator)
    steps = [
        [(torch.randn(4, generator=generator), gradient) for gradient in torch.randn(count, 2003, generator=generator)]
        for count in (1, 3, 2)
    ]
    ends = []
    for name in ("triton", "reference"):
        l1 = torch.tensor([0.0, 0.1, 0.0, 0.2], device=DEVICE)
        optimizer = ops.RankOneAdam(start.to(DEVICE, copy=True), lr=0.01, l1=l1, moments=moments)
        with ops.backend.use(name):
            for step in steps:
                optimizer.step([(c.to(DEVICE), g.to(DEVICE)) for c, g in step])
        ends.append(optimizer.tables.cpu())
    moved = float((ends[0] - start).abs().mean())
    assert moved > 1e-3
    # A value in the middle between two of bfloat16's may be rounded either way, which moves few entries by a little.
    difference = (ends[0] - ends[1]).abs()
    assert float(difference.mean()) < 1e-4 * moved
    assert float(difference.max()) < (1e-2 if moments == "float32" else 0.2) * moved


def step(generator):
    """The calls of one training step: sampling, blending, field, compositing, backward, update of the tables."""
    sigma_weights = [w.to(DEVICE).requires_grad_() for w in matrices(generator, SPEC.width, 32, 8)]
    color_weights = [w.to(DEVICE).requires_grad_() for w in matrices(generator, 7 + 4, 32, 3)]
    origins, directions, near, far = (t.to(DEVICE) for t in bundle(generator, 16))
    low = torch.full((3,), -0.5, device=DEVICE)
    tables = torch.randn(3, SPEC.parameters, generator=generator).to(DEVICE)
    coefficients = torch.rand(2, 3, generator=generator).to(DEVICE)
    grid = (torch.rand(8, 8, 8, generator=generator) < 0.5).to(DEVICE)
    borders = torch.tensor([0, 9, 16], device=DEVICE)
    optimizer = ops.RankOneAdam(tables, lr=0.01)

    def calls():
        rays = ops.sample_rays(origins, directions, near, far, 5, low=low, high=-low, occupancy=grid, seed=2)
        blended = ops.blend_tables(coefficients, tables).requires_grad_()
        sigma, rgb = ops.nerf_field(
            rays.positions, blended, ops.spherical_harmonics(directions, 2), rays.ray_index, sigma_weights,
            color_weights, SPEC, frame_offsets=rays.ray_offsets[borders], density_scale=20.0,
        )  # fmt: skip
        picture = ops.composite(sigma, rgb, rays.deltas, rays.distances, rays.ray_offsets)
        (picture.rgb.square().sum() + picture.alpha.sum()).backward()
        optimizer.step([(coefficients[b], blended.grad[b]) for b in range(2)])
        return picture.rgb, blended.grad, *(w.grad for w in (*sigma_weights, *color_weights)), tables

    return calls


def test_a_step_is_the_reference_step(generator):
    state, ends = generator.get_state(), []
    for name in ("triton", "reference"):
        generator.set_state(state)
        with ops.backend.use(name):
            ends.append([t.detach() for t in step(generator)()])
    for ours, theirs in zip(ends[0][:-1], ends[1][:-1], strict=True):
        close(ours, theirs, 1e-3)
    # Adam's first step only asks for the gradient's sign, so of sums near zero some may go either way.
    assert float((ends[0][-1] - ends[1][-1]).abs().mean()) < 1e-4


class NoWaiting(TorchDispatchMode):
    """Fails where torch would fetch a number from the card, or size a tensor by one."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero")

    def __torch_dispatch__(self, function, types, arguments=(), others=None):
        name = function.name().split("::")[1].split(".")[0]
        assert name not in self.WAITS, f"{function.name()} waits for the card"
        result = function(*arguments, **(others or {}))
        if name == "index" and not INTERPRETED:
            assert all(i is None or i.dtype != torch.bool for i in arguments[1])
        return result


def test_a_step_does_not_wait_for_the_card(generator):
    with ops.backend.use("triton"):
        calls = step(generator)
        calls()  # what is made once, such as the grid's layout, may wait
        if not INTERPRETED:
            torch.cuda.set_sync_debug_mode("error")
        try:
            with NoWaiting():
                calls()
        finally:
            if not INTERPRETED:
                torch.cuda.set_sync_debug_mode("default")


class TinyNetwork(torch.nn.Module):
    """What tinycudann's documentation says of its Network, in plain torch."""

    def __init__(self, n_input_dims, n_output_dims, network_config):
        super().__init__()
        assert network_config["otype"] == "FullyFusedMLP" and network_config["output_activation"] == "None"
        wide, up = network_config["n_neurons"], lambda k: -(-k // 16) * 16
        rest = [(wide, wide)] * (network_config["n_hidden_layers"] - 1)
        self.shapes = [(wide, up(n_input_dims)), *rest, (up(n_output_dims), wide)]
        self.outputs = n_output_dims
        self.params = torch.nn.Parameter(torch.full((sum(a * b for a, b in self.shapes),), torch.nan))

    def forward(self, x):
        x = torch.nn.functional.pad(x, (0, self.shapes[0][1] - x.shape[1]), value=1.0)
        pieces = self.params.split([a * b for a, b in self.shapes])
        for number, (piece, shape) in enumerate(zip(pieces, self.shapes, strict=True)):
            x = x @ piece.view(shape).T
            x = x if number == len(self.shapes) - 1 else x.relu()
        return x[:, : self.outputs]


@pytest.mark.skipif(not INTERPRETED, reason="stands in for a library that a card's machine may have")
@pytest.mark.parametrize("widths", [(24, 64, 16), (31, 32, 32, 3), (48, 16, 16, 16, 17)])
def test_networks_as_tinycudann_takes_them(generator, widths, monkeypatch):
    stand_in = type(sys)("tinycudann")
    stand_in.Network = TinyNetwork
    monkeypatch.setitem(sys.modules, "tinycudann", stand_in)
    tcnn._module.cache_clear()
    weights = matrices(generator, *widths)
    x = torch.randn(40, widths[0], generator=generator)
    assert tcnn.takes(weights)
    results = []
    for run in (tcnn.network, mlp):
        leaves = [t.clone().requires_grad_() for t in (x[off_kinks(x, weights)], *weights)]
        out = run(leaves[0], leaves[1:])
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append([out.detach(), *(t.grad for t in leaves)])
    tcnn._module.cache_clear()
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs)


def test_networks_that_tinycudann_is_not_compiled_for_are_left_to_triton(generator):
    assert not tcnn.takes(matrices(generator, 24, 48, 16)) and not tcnn.takes(matrices(generator, 24, 16))
    assert not tcnn.takes(matrices(generator, 24, 64, 32, 16))
    assert network.shape_of(matrices(generator, 24, 48, 16)) is not None


@pytest.mark.parametrize("cull", [False, True])
def test_mesh_raster(generator, cull):
    points = (torch.rand(40, 3, generator=generator) - 0.5) * torch.tensor([2.0, 2.0, 3.0])
    points[:, 2] += 1.2  # in front, behind, and through the camera's plane
    vertices = torch.cat((points[:, :2] / points[:, 2:] * 16 + 12, points[:, 2:]), 1).to(DEVICE)
    faces = torch.randint(0, 40, (25, 3), generator=generator).to(DEVICE)
    found = []
    for name in ("triton", "reference"):
        with ops.backend.use(name):
            leaf = vertices.clone().requires_grad_()
            fragments = ops.rasterize(leaf, faces, 20, 24, cull=cull)
            fragments.depth.sum().backward()
            found.append((fragments, leaf.grad))
    (mine, gradient), (theirs, expected) = found
    assert int(theirs.mask.sum()) > 10
    assert torch.equal(mine.face_index, theirs.face_index)
    close(gradient, expected)
