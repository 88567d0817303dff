"""Every backend of an NVIDIA card against the reference on CPU; nothing here runs without one."""

from __future__ import annotations

import pytest
import torch

from headavatar import ops
from headavatar.ops.cuda import available

pytestmark = pytest.mark.gpu


def train(device: str) -> list[torch.Tensor]:
    """Values and gradients of one training step with fixed numbers."""
    generator = torch.Generator().manual_seed(11)
    spec = ops.HashGridSpec(levels=6, features=2, log2_table=10, base_resolution=4, finest_resolution=64)
    matrix = lambda o, i: (torch.randn(o, i, generator=generator) * (2 / i) ** 0.5).to(device).requires_grad_()  # noqa: E731
    sigma_weights, color_weights = [matrix(32, 12), matrix(8, 32)], [matrix(32, 16), matrix(3, 32)]
    tables = torch.randn(3, spec.parameters, generator=generator).to(device)
    coefficients = torch.rand(2, 3, generator=generator).to(device)
    origins = torch.tensor([[0.0, 0.0, 2.0]], device=device).expand(200, 3)
    targets = torch.rand(200, 3, generator=generator).to(device) - 0.5
    directions = torch.nn.functional.normalize(targets - origins, dim=1)
    near, low = torch.full((200,), 1.4, device=device), torch.full((3,), -0.5, device=device)
    grid = (torch.rand(16, 16, 16, generator=generator) < 0.5).to(device)
    rays = ops.sample_rays(origins, directions, near, near + 1.2, 8, low=low, high=-low, occupancy=grid, seed=2)
    blended = ops.blend_tables(coefficients, tables).requires_grad_()
    sigma, rgb = ops.nerf_field(
        rays.positions, blended, ops.spherical_harmonics(directions, 3), rays.ray_index, sigma_weights, color_weights,
        spec, frame_offsets=rays.ray_offsets[[0, 100, 200]], density_scale=20.0,
    )  # fmt: skip
    picture = ops.composite(sigma, rgb, rays.deltas, rays.distances, rays.ray_offsets)
    (picture.rgb.square().sum() + picture.alpha.sum() + picture.depth.sum()).backward()
    ops.RankOneAdam(tables, lr=0.01).step([(coefficients[b], blended.grad[b]) for b in range(2)])
    vertices = (torch.rand(90, 3, generator=generator) * 40 + 1).to(device).requires_grad_()
    faces = torch.randint(0, 90, (150, 3), generator=generator).to(device)
    fragments = ops.rasterize(vertices, faces, 48, 48)
    seen = ops.interpolate(vertices.detach(), faces, fragments)
    (seen.sum() + fragments.depth.sum()).backward()
    gradients = [t.grad for t in (blended, *sigma_weights, *color_weights, vertices)]
    return [t.detach().cpu() for t in (picture.rgb, picture.depth, seen, *gradients)]


TOLERANCES = {"reference": 1e-3, "triton": 1e-3, "tinycudann": 5e-2}
"""Largest difference as a share of the largest value; tinycudann's networks are in half precision."""


@pytest.mark.parametrize("name", TOLERANCES)
def test_a_training_step_on_cuda_is_the_one_on_cpu(name):
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA card")
    if fault := {"triton": available.triton_fault, "tinycudann": available.tinycudann_fault}.get(name, str)():
        pytest.skip(fault)
    with ops.backend.use("reference"):
        expected = train("cpu")
    with ops.backend.use(name):
        found = train("cuda")
    for there, here in zip(found, expected, strict=True):
        assert float((there - here).abs().max()) <= TOLERANCES[name] * float(here.abs().max())
