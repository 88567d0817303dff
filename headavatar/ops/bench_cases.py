"""What the benchmark runs: for each kernel a realistic size, and how many bytes and operations it cannot do without."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headavatar import ops

GRID = ops.HashGridSpec(levels=16, features=2, log2_table=14, base_resolution=16, finest_resolution=512)
POINTS = 131072
RAYS, SAMPLES = 8192, 8
TABLES = 16
STEP_TABLES = 58
"""Of a whole step and a picture: neutral, every expression that moves, and the pose."""
LOW = torch.full((3,), -0.5)


@dataclass(frozen=True)
class Case:
    """One kernel to time.

    Attributes:
        name, size: what is shown.
        make: prepares the inputs and returns the call to time.
        bytes_moved: that have to be read from and written to memory, taking caches as perfect.
        operations: multiplications and additions that cannot be left out.
        repeat: native calls per reference call.
    """

    name: str
    size: str
    make: Callable[[], Callable[[], object]]
    bytes_moved: float
    operations: float
    repeat: int = 3


def sphere(rings: int) -> tuple[Tensor, Tensor]:
    """Vertices (rings**2, 3) and faces of a sphere of radius 0.12 m, 0.8 m before the camera."""
    polar = torch.linspace(0, math.pi, rings)
    around = torch.linspace(0, 2 * math.pi, rings)
    t, p = torch.meshgrid(polar, around, indexing="ij")
    vertices = 0.12 * torch.stack((t.sin() * p.cos(), t.cos(), t.sin() * p.sin()), -1).reshape(-1, 3)
    index = torch.arange(rings * rings).view(rings, rings)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = torch.cat((torch.stack((a, b, c), -1).reshape(-1, 3), torch.stack((a, c, d), -1).reshape(-1, 3)))
    return vertices + torch.tensor([0.0, 0.0, 0.8]), faces


def _seen_sphere(rings: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """A sphere's vertices in pixels and depth and in the world, and its faces."""
    world, faces = sphere(rings)
    return torch.cat((world[:, :2] / world[:, 2:] * (2.5 * size) + size / 2, world[:, 2:]), 1), world, faces.int()


def _raster(size: int, backward: bool) -> Callable[[], object]:
    vertices, _, faces = _seen_sphere(126, size)
    vertices.requires_grad_(backward)
    attributes = torch.randn(len(vertices), 8, requires_grad=backward)
    weights = torch.randn(size, size, 8)

    def call() -> None:
        fragments = ops.rasterize(vertices, faces, size, size)
        if backward:
            vertices.grad = attributes.grad = None
            ops.interpolate(attributes, faces, fragments).backward(weights)

    return call


def _antialias(size: int) -> Callable[[], object]:
    vertices, _, faces = _seen_sphere(143, size)
    fragments = ops.rasterize(vertices, faces, size, size)
    vertices.requires_grad_()
    picture = torch.rand(size, size, 4, requires_grad=True)
    weights = torch.randn(size, size, 4)

    def call() -> None:
        vertices.grad = picture.grad = None
        ops.antialias(picture, fragments, vertices, faces).backward(weights)

    return call


def _sample_maps(places: int, side: int, channels: int) -> Callable[[], object]:
    rows = int(places**0.5)
    across = torch.linspace(0.1, 0.9, rows)  # as pixels of a face see them: neighbors beside each other
    uv = torch.stack(torch.meshgrid(across, across, indexing="xy"), -1).reshape(-1, 2).requires_grad_()
    maps = torch.randn(side, side, channels, requires_grad=True)
    weights = torch.randn(len(uv), channels)

    def call() -> None:
        uv.grad = maps.grad = None
        ops.sample_maps(maps, uv).backward(weights)

    return call


def _shade_baked(size: int, side: int, expressions: int, shadings: int) -> Callable[[], object]:
    vertices, world, faces = _seen_sphere(143, size)
    uvs = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 143)] * 2, indexing="xy"), -1).reshape(-1, 2)
    maps = ops.pack_maps(
        torch.rand(side, side, 4), 0.05 * torch.randn(expressions, side, side, 4),
        0.05 * torch.randn(shadings, side, side, 4),
    )  # fmt: skip
    weights, axes = torch.rand(expressions), torch.randn(shadings, 3)
    return lambda: ops.shade_baked(vertices, faces, uvs, faces, maps, weights, size, size, points=world, axes=axes)


def _pose(vertices: int, bases: int) -> Callable[[], object]:
    moves = torch.randn(bases, vertices, 3) * 1e-3
    moves[:, torch.arange(vertices) // 64 % 3 != 0] = 0  # a third of all blocks of vertices, about as a face's do
    shape = ops.pack_shape(torch.randn(vertices, 3), moves, torch.rand(vertices, 4))
    coefficients, turns, pivots = torch.rand(bases), torch.eye(3).expand(4, 3, 3).contiguous(), torch.zeros(4, 3)
    view, projection = torch.cat((torch.eye(3), torch.ones(3, 1)), 1), torch.eye(3)[:2].contiguous()
    return lambda: ops.pose_shape(shape, coefficients, turns, pivots, view, projection)


def _hash(backward: bool) -> Callable[[], object]:
    x = torch.rand(POINTS, 3)
    table = torch.randn(GRID.parameters, requires_grad=backward)
    weights = torch.randn(POINTS, GRID.width)

    def call() -> None:
        encoded = ops.hash_encode(x, table, GRID)
        if backward:
            table.grad = None
            encoded.backward(weights)

    return call


def _weights(*sizes: int) -> list[Tensor]:
    return [(torch.randn(o, i) * (2 / i) ** 0.5).requires_grad_() for i, o in zip(sizes[:-1], sizes[1:], strict=True)]


def _mlp() -> Callable[[], object]:
    x = torch.randn(RAYS * SAMPLES, 32, requires_grad=True)
    weights = _weights(32, 64, 64, 16)
    gradient = torch.randn(RAYS * SAMPLES, 16)

    def call() -> None:
        for tensor in (x, *weights):
            tensor.grad = None
        ops.fused_mlp(x, weights).backward(gradient)

    return call


def _rays() -> tuple[Tensor, Tensor]:
    targets = (torch.rand(RAYS, 3) - 0.5) * torch.tensor([0.9, 0.9, 0.0])
    origins = torch.tensor([0.0, 0.0, 2.0]).expand(RAYS, 3).contiguous()
    directions = torch.nn.functional.normalize(targets - origins, dim=1)
    return origins, directions


def _field(backward: bool) -> Callable[[], object]:
    sigma_weights, color_weights = _weights(GRID.width, 64, 16), _weights(31, 64, 3)
    table = (torch.randn(GRID.parameters) * 0.1).requires_grad_()
    origins, directions = _rays()
    near = torch.full((RAYS,), 1.9)
    features = ops.spherical_harmonics(directions, 4)
    leaves = [table, *sigma_weights, *color_weights]

    def call() -> None:
        with torch.set_grad_enabled(backward):
            rays = ops.sample_rays(origins, directions, near, near + 0.1, SAMPLES, low=LOW, high=-LOW)
            sigma, rgb = ops.nerf_field(
                rays.positions, table, features, rays.ray_index, sigma_weights, color_weights, GRID, density_scale=30.0
            )
            picture = ops.composite(sigma, rgb, rays.deltas, rays.distances, rays.ray_offsets)
        if backward:
            for leaf in leaves:
                leaf.grad = None
            ((picture.rgb - 0.3).abs().mean() + (picture.alpha - 0.5).abs().mean()).backward()

    return call


def _composite() -> Callable[[], object]:
    offsets = torch.arange(0, RAYS * SAMPLES + 1, SAMPLES)
    sigma = (torch.rand(RAYS * SAMPLES) * 100).requires_grad_()
    rgb = torch.rand(RAYS * SAMPLES, 3, requires_grad=True)
    deltas, distances = torch.full((RAYS * SAMPLES,), 0.01), torch.rand(RAYS * SAMPLES)

    def call() -> None:
        sigma.grad = rgb.grad = None
        picture = ops.composite(sigma, rgb, deltas, distances, offsets)
        (picture.rgb.sum() + picture.alpha.sum()).backward()

    return call


def _sampling() -> Callable[[], object]:
    origins, directions = _rays()
    near = torch.full((RAYS,), 1.4)
    axis = torch.linspace(-1, 1, 64)
    ball = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2) < 0.6
    return lambda: ops.sample_rays(origins, directions, near, near + 1.2, SAMPLES, low=LOW, high=-LOW, occupancy=ball)


def _warp(frames: int) -> Callable[[], object]:
    points, values = torch.rand(frames, 5700, 3) * 0.5 + 0.25, torch.randn(frames, 5700, 3)
    learned = torch.randn(frames, 16**3 * ops.warping.CHANNELS)
    return lambda: ops.spread(points, values, 32) + ops.refine(learned, 32)


def _blend() -> Callable[[], object]:
    weights, tables = torch.rand(4, TABLES), torch.randn(TABLES, GRID.parameters)
    return lambda: ops.blend_tables(weights, tables)


def _adam(moments: str) -> Callable[[], object]:
    optimizer = ops.RankOneAdam(torch.randn(TABLES, GRID.parameters), lr=1e-3, moments=moments)
    pairs = [(torch.rand(TABLES), torch.randn(GRID.parameters)) for _ in range(4)]
    return lambda: optimizer.step(pairs)


def _ball(side: int, inner: float, outer: float) -> Tensor:
    axis = torch.linspace(-1, 1, side)
    square = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2
    return (square > inner**2) & (square < outer**2)


def _step() -> Callable[[], object]:
    sigma_weights, color_weights = _weights(GRID.width, 64, 16), _weights(31, 64, 3)
    origins, directions = _rays()
    near, shell = torch.full((RAYS,), 1.4), _ball(128, 0.55, 0.75)
    optimizer = ops.RankOneAdam(torch.randn(STEP_TABLES, GRID.parameters) * 0.1, lr=1e-3)
    coefficients = torch.rand(4, STEP_TABLES)
    leaves = [*sigma_weights, *color_weights]
    borders = torch.arange(0, RAYS + 1, RAYS // 4)

    def call() -> None:
        blended = ops.blend_tables(coefficients, optimizer.tables).requires_grad_()
        rays = ops.sample_rays(origins, directions, near, near + 1.2, 10, low=LOW, high=-LOW, occupancy=shell)
        sigma, rgb = ops.nerf_field(
            rays.positions, blended, ops.spherical_harmonics(directions, 4), rays.ray_index, sigma_weights,
            color_weights, GRID, frame_offsets=rays.ray_offsets[borders], density_scale=30.0,
        )  # fmt: skip
        picture = ops.composite(sigma, rgb, rays.deltas, rays.distances, rays.ray_offsets)
        for leaf in leaves:
            leaf.grad = None
        ((picture.rgb - 0.3).abs().mean() + (picture.alpha - 0.5).abs().mean()).backward()
        optimizer.step([(coefficients[b], blended.grad[b]) for b in range(4)])  # type: ignore[index]

    return call


def _render() -> Callable[[], object]:
    sigma_weights, color_weights = _weights(GRID.width, 64, 16), _weights(31, 64, 3)
    tables = torch.randn(STEP_TABLES, GRID.parameters) * 0.1
    v, u = torch.meshgrid(torch.linspace(-0.45, 0.45, 256), torch.linspace(-0.45, 0.45, 256), indexing="ij")
    origins = torch.tensor([0.0, 0.0, 2.0]).expand(256 * 256, 3).contiguous()
    targets = torch.stack((u, v, torch.zeros_like(u)), -1).reshape(-1, 3)
    directions = torch.nn.functional.normalize(targets - origins, dim=1)
    near, shell = torch.full((256 * 256,), 1.4), _ball(128, 0.4, 0.5)
    coefficients = torch.rand(1, STEP_TABLES)

    def call() -> None:
        blended = ops.blend_tables(coefficients, tables)
        ops.render_rays(
            origins, directions, near, near + 0.6, blended[0], sigma_weights, color_weights, GRID, bands=4, samples=10,
            low=LOW, high=-LOW, occupancy=shell, density_scale=30.0, opaque=1e-2,
        )  # fmt: skip

    return call


_FIELD_OPS = 2 * (32 * 64 + 64 * 16 + 31 * 64 + 64 * 3) + 16 * 2 * 8 * 2
_N = RAYS * SAMPLES
_STEP_SAMPLES, _RENDER_SAMPLES = 46130, 160560  # what their occupied shells leave of rays times samples
_P = GRID.parameters

CASES = (
    Case("hash grid, forward", "131k points x 16 levels x 2", lambda: _hash(False), 4 * (POINTS * 35 + _P),
         POINTS * 16 * 8 * 2 * 2),
    Case("hash grid, forward + backward", "131k points x 16 levels x 2", lambda: _hash(True),
         4 * (POINTS * 67 + 2 * _P), POINTS * 16 * 8 * 2 * 4),
    Case("mesh raster", "15.9k vertices, 512 x 512", lambda: _raster(512, False), 4 * 512 * 512 * 5, 0),
    Case("mesh raster + 8 attributes, forward + backward", "15.9k vertices, 512 x 512", lambda: _raster(512, True),
         4 * 512 * 512 * 26, 512 * 512 * 8 * 12),
    Case("silhouette anti-aliasing, forward + backward", "40k faces, 4 channels, 256 x 256", lambda: _antialias(256),
         4 * 256 * 256 * 20, 0),
    Case("reading maps, forward + backward", "20k places, 32 channels, 256 x 256", lambda: _sample_maps(20000, 256, 32),
         4 * (256 * 256 * 32 + 20000 * 32 * 4), 20000 * 32 * 24),
    Case("baked picture", "40k faces, 16 + 4 maps of 256 x 256, 256 x 256", lambda: _shade_baked(256, 256, 16, 4),
         29000 * 4 * 24 * 2 + 4 * 256 * 256 * 14, 29000 * 4 * 24 * 2),
    Case("posed shape", "19k vertices, 61 bases that move a third each, 4 joints", lambda: _pose(19105, 61),
         4 * 19105 * (61 + 3 + 4 + 6), 19105 * (61 * 2 + 4 * 21 + 24)),
    Case("network, forward + backward", "65k samples, 32-64-64-16", _mlp, 4 * _N * 96,
         3 * 2 * _N * (32 * 64 + 64 * 64 + 64 * 16)),
    Case("field and compositing, forward", "8192 rays x 8 samples", lambda: _field(False), 4 * _N * 8, _N * _FIELD_OPS),
    Case("field and compositing, forward + backward", "8192 rays x 8 samples", lambda: _field(True), 4 * _N * 16,
         3 * _N * _FIELD_OPS),
    Case("compositing, forward + backward", "8192 rays x 8 samples", _composite, 4 * _N * 10, _N * 40),
    Case("ray sampling in an occupancy grid", "8192 rays, 64 probes, 8 samples", _sampling, 4 * _N * 6, RAYS * 64 * 12),
    Case("displacements", "4 frames of 5.7k points, 32 nodes a side", lambda: _warp(4),
         4 * 4 * (5700 * 6 + 16**3 * 4 + 3 * 32**3 * 4), 4 * (5700 * 64 + 2 * 32**3 * 24)),
    Case("blending tables", "16 tables of 0.45M into 4", _blend, 4 * _P * (TABLES + 4), 2 * 4 * TABLES * _P),
    Case("rank-one Adam, float32", "16 tables of 0.45M, 4 frames", lambda: _adam("float32"),
         4 * _P * (6 * TABLES + 4), TABLES * _P * 18),
    Case("rank-one Adam, bfloat16", "16 tables of 0.45M, 4 frames", lambda: _adam("bfloat16"),
         4 * _P * (4 * TABLES + 4), TABLES * _P * 18),
    Case("full step", "8192 rays x 10 samples, 4 frames, 58 tables", _step, 4 * _P * (5 * STEP_TABLES + 12),
         3 * _STEP_SAMPLES * _FIELD_OPS + STEP_TABLES * _P * 26, 1),
    Case("picture", "256 x 256, at most 10 samples a ray, 58 tables", _render, 4 * _P * (STEP_TABLES + 1),
         _RENDER_SAMPLES * _FIELD_OPS + STEP_TABLES * _P * 2, 1),
)  # fmt: skip
"""Every kernel, at the sizes of the balanced preset."""
