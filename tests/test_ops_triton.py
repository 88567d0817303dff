"""The Triton kernels: right in the interpreter, compiled for cards that are not here, and right on one that is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headavatar import ops
from headavatar.ops.cuda import available

pytest.importorskip("triton", reason="triton is not installed")

HERE = Path(__file__).parent


def run_agreement(interpret: bool) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "HEADAVATAR_OPS")}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", str(HERE / "triton_agreement.py")]
    environment |= {"TRITON_INTERPRET": "1"} if interpret else {}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE.parent)


def test_in_the_interpreter_every_kernel_agrees_with_the_reference():
    import triton

    if tuple(int(k) for k in triton.__version__.split(".")[:2]) < (3, 9):
        pytest.skip("the interpreter of triton before 3.9 does not know numpy 2.4")
    done = run_agreement(interpret=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.gpu
def test_on_a_card_every_kernel_agrees_with_the_reference():
    if fault := available.triton_fault():
        pytest.skip(fault)
    done = run_agreement(interpret=False)
    assert done.returncode == 0, done.stdout + done.stderr


def training_step(levels: int, features: int, hidden: int, layers: int, geometry: int) -> None:
    """The calls of a step with a grid and networks of these sizes."""
    spec = ops.HashGridSpec(levels, features, log2_table=14, base_resolution=16, finest_resolution=512)
    matrix = lambda o, i: torch.randn(o, i).requires_grad_()  # noqa: E731
    sizes = [levels * features, *[hidden] * layers, 1 + geometry]
    sigma_weights = [matrix(o, i) for i, o in zip(sizes[:-1], sizes[1:], strict=True)]
    color_weights = [matrix(hidden, geometry + 16), matrix(3, hidden)]
    origins, directions, corner = torch.randn(50, 3), torch.randn(50, 3), torch.ones(3)
    rays = ops.sample_rays(
        origins, directions, torch.zeros(50), torch.ones(50), 10, low=-corner, high=corner, min_step=0.1,
        occupancy=torch.ones(8, 8, 8, dtype=torch.bool),
    )  # fmt: skip
    tables = torch.randn(3, spec.parameters)
    blended = ops.blend_tables(torch.rand(2, 3), tables).detach().requires_grad_()
    sigma, rgb = ops.nerf_field(
        rays.positions.requires_grad_(), blended, torch.randn(50, 16), rays.ray_index, sigma_weights, color_weights,
        spec, frame_offsets=torch.tensor([0, 200, 500]),
    )  # fmt: skip
    picture = ops.composite(sigma, rgb, rays.deltas, rays.distances, rays.ray_offsets)
    (picture.rgb.sum() + picture.alpha.sum()).backward()
    for moments in ("float32", "bfloat16"):
        ops.RankOneAdam(tables, lr=0.01, moments=moments).step([(torch.rand(3), blended.grad[b]) for b in range(2)])
    corners = torch.tensor([[1.0, 1.0, 1.0], [9.0, 1.0, 1.0], [1.0, 9.0, 1.0]])
    ops.rasterize(corners, torch.tensor([[0, 1, 2]]), 10, 10)


KERNELS = {
    "grid_forward", "grid_backward_table", "grid_backward_points", "blend", "adam", "probe", "place", "composite",
    "composite_backward", "draw", "net_forward", "net_backward", "net_weights",
}  # fmt: skip
SHARED_MEMORY = {80: 99 << 10, 90: 227 << 10, 120: 99 << 10}
"""Bytes that a program may have on the smallest cards that run what is compiled for a capability: of those for 8.0 the
smallest has 8.6."""


@pytest.mark.parametrize("capability", list(SHARED_MEMORY))
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((4, 2, 16, 1, 7), id="small"),
        pytest.param((12, 2, 64, 1, 15), id="balanced", marks=pytest.mark.slow),
        pytest.param((16, 4, 64, 4, 64), id="paper", marks=pytest.mark.slow),
        pytest.param((16, 8, 64, 2, 100), id="widest", marks=pytest.mark.slow),
    ],
)
def test_every_launch_of_a_step_compiles(sizes, capability, monkeypatch, tmp_path):
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the interpreter is switched on")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime import jit

    compiled = {}

    def compile_only(kernel, *arguments, grid, warmup, **others):
        values = dict(zip(kernel.arg_names, arguments, strict=False))
        options = {k: v for k, v in others.items() if k not in kernel.arg_names}
        values |= {k: v for k, v in others.items() if k in kernel.arg_names}
        constants = {p.name: values[p.name] for p in kernel.params if p.is_constexpr}
        signature = {
            name: "constexpr" if name in constants else jit.mangle_type(values[name]) for name in kernel.arg_names
        }
        key = (kernel.__name__, str(signature), str(constants))
        if key not in compiled:
            source = ASTSource(kernel, signature, constants)
            compiled[key] = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")
    monkeypatch.setattr(jit.JITFunction, "run", compile_only)
    monkeypatch.setattr(available, "interpreted", lambda: True)  # sends tensors of this machine to the kernels
    with ops.backend.use("triton"):
        training_step(*sizes)
    assert {name for name, *_ in compiled} == KERNELS
    for (name, *_), kernel in compiled.items():
        assert len(kernel.asm["cubin"]) > 1000, name
        assert kernel.metadata.shared <= SHARED_MEMORY[capability], name
