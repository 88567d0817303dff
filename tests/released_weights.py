"""Weights as NeRFBlendShape's program saves them, made up, and what it would render from them, in plain torch.

Written from what its sources and tiny-cuda-nn's say, with none of our kernels: hash, networks from flat vectors, march.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headavatar.scene import Array

LEVELS, FEATURES, ENTRIES = 16, 4, 246456
BOUND, SCALE, NODES = 0.06, 0.33, 129
NEAR = 0.05


def resolutions() -> list[int]:
    growth = 2 ** (math.log2(1024 / 16) / (LEVELS - 1))
    return [math.ceil(round(16 * growth**level, 6)) for level in range(LEVELS)]


def offsets() -> list[int]:
    sizes = [min(2**14, (resolution + 1) ** 3) for resolution in resolutions()]
    return [0, *np.cumsum(sizes).tolist()]


def random(coefficients: int, seed: int, fade: float = 1.0, density: float = 60.0) -> dict[str, Any]:
    """A checkpoint: `fade` scales every level against the one before; `density` is how much densities differ."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    amplitude = torch.cat([
        torch.full((stop - start,), fade**level)
        for level, (start, stop) in enumerate(zip(offsets()[:-1], offsets()[1:], strict=True))
    ])[:, None]  # fmt: skip
    sigma = [normal(64, 64) * (2 / 64) ** 0.5 for _ in range(4)] + [normal(80, 64) * (1 / 64) ** 0.5]
    color = [normal(64, 80) * (2 / 80) ** 0.5, normal(16, 64) * (4 / 64) ** 0.5]
    made = {
        "epoch": 9, "global_step": 5000, "mean_count": 12345, "mean_density": 3.0, "stats": {"loss": [0.1]},
        "optimizer": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.99)}]},
        "model": {
            "density_grid": torch.full((NODES,) * 3, 1e3), "step_counter": torch.zeros(64, 2, dtype=torch.int32),
            "encoder.offsets": torch.tensor(offsets(), dtype=torch.int32),
            "encoder.embeddings_mean": normal(1, ENTRIES, FEATURES) * amplitude,
            "encoder.embeddings": normal(coefficients, ENTRIES, FEATURES) * amplitude,
            "sigma_net.params": torch.cat([weight.reshape(-1) for weight in sigma]),
            "color_net.params": torch.cat([weight.reshape(-1) for weight in color]),
            "encoder_dir.params": torch.zeros(0),
        },
    }  # fmt: skip
    model: Any = made["model"]
    table, places = blended(model, [0.3] * coefficients), 0.03 * (2 * torch.rand(400, 3, generator=rng) - 1)
    raw = evaluate(model, table, places, torch.eye(3)[[2] * 400])[2]
    sigma[-1][0] *= density / raw.std() * (1 if raw.median() > 0 else -1)  # dense somewhere, for every seed
    model["sigma_net.params"] = torch.cat([weight.reshape(-1) for weight in sigma])
    return made


def ball(pose: Array) -> Tensor:
    """A density grid that is occupied in a ball, before the middle of the box as seen by the camera of a pose.

    All of it lies beyond the distance at which their program's rays begin, however near the camera is.
    """
    eye = pose[[1, 2, 0], 3] * SCALE
    away, radius = np.linalg.norm(eye), 0.03
    center = min(0.02, away - NEAR - 1.1 * radius) * eye / away
    nodes = np.stack(np.meshgrid(*[np.linspace(-BOUND, BOUND, NODES)] * 3, indexing="ij"), -1)
    return torch.from_numpy(np.where(np.linalg.norm(nodes - center, axis=-1) < radius, 8.0, 2.0))


def blended(model: dict[str, Tensor], weights: Sequence[float] | Array) -> Tensor:
    """One hash table for one frame's clamped coefficients."""
    whole = torch.cat([model["encoder.embeddings_mean"], model["encoder.embeddings"]])
    return torch.einsum("k,kef->ef", torch.tensor([1.0, *weights], dtype=torch.float64), whole.double())


def evaluate(model: dict[str, Tensor], table: Tensor, points: Tensor, directions: Tensor) -> tuple[Tensor, ...]:
    """Density, color and the first network's first output at points (N, 3) of the box [-0.06, 0.06]^3."""
    hidden = _encode(table, (points.double() + BOUND) / (2 * BOUND))
    for weight in _matrices(model["sigma_net.params"], (64, 64, 64, 64, 64, 80)):
        hidden, raw = torch.relu(hidden @ weight.T), hidden @ weight.T
    features = torch.cat([_harmonics(directions.double()), raw[:, 1:65]], 1)
    first, last = _matrices(model["color_net.params"], (80, 64, 16))
    color = torch.sigmoid(torch.relu(features @ first.T) @ last.T)[:, :3]
    return torch.nn.functional.softplus(raw[:, 0]), color, raw[:, 0]


def picture(
    checkpoint: dict[str, Any], weights: Array, pose: Array, intrinsics: tuple[float, ...], size: int, steps: int
) -> tuple[Array, Array]:
    """What the program would draw over white, with a march of many equal steps: color (S, S, 3) and alpha (S, S).

    Args:
        weights: clamped coefficients.
        pose: (4, 4) `transform_matrix`.
        intrinsics: fx, fy, cx, cy, of pixels whose center is at whole numbers.
    """
    model, (fx, fy, cx, cy) = checkpoint["model"], intrinsics
    turned = pose[[1, 2, 0], :3] * [1, -1, -1]  # their frame: y, z, x; their camera: x right, y down, z forward
    origin = torch.from_numpy(pose[[1, 2, 0], 3] * SCALE)
    j, i = torch.meshgrid(torch.arange(size).double(), torch.arange(size).double(), indexing="ij")
    local = torch.stack([(i - cx) / fx, (j - cy) / fy, torch.ones_like(i)], -1).reshape(-1, 3)
    directions = local @ torch.from_numpy(turned).T
    directions = directions / directions.norm(dim=1, keepdim=True)
    low, high = (-BOUND - origin) / directions, (BOUND - origin) / directions
    near, far = torch.minimum(low, high).amax(1).clamp_min(NEAR), torch.maximum(low, high).amin(1)
    length = (far - near).clamp_min(0) / steps
    light, color = torch.ones(len(directions)).double(), torch.zeros(len(directions), 3).double()
    level, table = min(10.0, checkpoint["mean_density"]), blended(model, weights)
    for step in range(steps):
        points = origin + (near + (step + 0.5) * length)[:, None] * directions
        node = torch.floor((points / BOUND + 1) / 2 * (NODES - 1) + 0.5).long().clamp(0, NODES - 1)
        there = (length > 0) & (model["density_grid"][node[:, 0], node[:, 1], node[:, 2]] > level)
        if not there.any():
            continue
        sigma, rgb, _ = evaluate(model, table, points[there], directions[there])
        passed = light[there] * torch.exp(-sigma * length[there])
        color[there] += (light[there] - passed)[:, None] * rgb
        light[there] = passed
    seen = color + light[:, None]
    return seen.reshape(size, size, 3).numpy(), (1 - light).reshape(size, size).numpy()


def _encode(table: Tensor, x: Tensor) -> Tensor:
    found = []
    for level, (start, stop) in enumerate(zip(offsets()[:-1], offsets()[1:], strict=True)):
        scale = 16 * 2 ** (level * math.log2(1024 / 16) / (LEVELS - 1)) - 1
        nodes, entries = math.ceil(round(scale, 6)) + 2, stop - start
        place = x * scale + 0.5
        cell = torch.floor(place).long()
        share = place - cell
        total = torch.zeros(len(x), FEATURES, dtype=torch.float64)
        for corner in range(8):
            step = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
            at = (cell + step).numpy().astype(np.uint64)
            if nodes**3 <= entries:
                index = at[:, 0] + at[:, 1] * nodes + at[:, 2] * nodes**2
            else:
                u32 = np.uint64(0xFFFFFFFF)
                index = at[:, 0] ^ (at[:, 1] * np.uint64(2654435761) & u32) ^ (at[:, 2] * np.uint64(805459861) & u32)
                index = index % np.uint64(entries)
            weight = torch.where(step == 1, share, 1 - share).prod(1)
            total += weight[:, None] * table[start + torch.from_numpy(index.astype(np.int64))]
        found.append(total)
    return torch.cat(found, 1)


def _matrices(params: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    matrices, at = [], 0
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        matrices.append(params[at : at + inputs * outputs].reshape(outputs, inputs).double())
        at += inputs * outputs
    assert at == len(params)
    return matrices


def _harmonics(d: Tensor) -> Tensor:
    """Real spherical harmonics of 4 bands as polynomials, with tiny-cuda-nn's signs, from their normalizations."""
    x, y, z = d.unbind(-1)
    pi = math.pi
    c1, c2 = math.sqrt(3 / (4 * pi)), math.sqrt(15 / (4 * pi))
    c3, c4, c5 = math.sqrt(35 / (32 * pi)), math.sqrt(105 / (4 * pi)), math.sqrt(21 / (32 * pi))
    return torch.stack([
        torch.full_like(x, math.sqrt(1 / (4 * pi))), -c1 * y, c1 * z, -c1 * x,
        c2 * x * y, -c2 * y * z, math.sqrt(5 / (16 * pi)) * (3 * z**2 - 1), -c2 * x * z, c2 / 2 * (x**2 - y**2),
        -c3 * y * (3 * x**2 - y**2), c4 * x * y * z, -c5 * y * (5 * z**2 - 1),
        math.sqrt(7 / (16 * pi)) * (5 * z**3 - 3 * z), -c5 * x * (5 * z**2 - 1), c4 / 2 * z * (x**2 - y**2),
        -c3 * x * (x**2 - 3 * y**2),
    ], -1)  # fmt: skip
