"""Which backend a call runs on: chosen, forced, missing, and reported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from headavatar import ops
from headavatar.errors import EnvironmentFault, UsageError
from headavatar.ops.native import library

needs_native = pytest.mark.skipif(library.load().handle is None, reason="the native library is not built")


@pytest.fixture
def no_library(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    monkeypatch.setattr(library.sysconfig, "get_path", lambda name: str(tmp_path))
    library.load.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    library.load.cache_clear()


def encode() -> torch.Tensor:
    spec = ops.HashGridSpec(levels=2, log2_table=6, base_resolution=2, finest_resolution=4)
    return ops.hash_encode(torch.full((4, 3), 0.3), torch.linspace(0, 1, spec.parameters), spec)


@needs_native
def test_native_is_the_default_on_cpu_float32_only():
    assert ops.backend.current("cpu") == "native"
    assert ops.backend.current("cuda") == "reference"
    assert ops.backend.is_native(torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    assert not ops.backend.is_native(torch.zeros(1, dtype=torch.float64))


def test_force_by_environment_and_by_block(monkeypatch):
    monkeypatch.setenv("HEADAVATAR_OPS", "reference")
    assert ops.backend.current("cpu") == "reference"
    monkeypatch.delenv("HEADAVATAR_OPS")
    before = ops.backend.current("cpu")
    with ops.backend.use("reference"):
        assert ops.backend.current("cpu") == "reference"
    assert ops.backend.current("cpu") == before


def test_unknown_backend_is_a_usage_error(monkeypatch):
    with pytest.raises(UsageError), ops.backend.use("warp"):
        pass
    monkeypatch.setenv("HEADAVATAR_OPS", "numba")
    with pytest.raises(UsageError):
        encode()


def test_without_the_library_the_reference_runs_and_report_says_so(no_library):
    assert ops.backend.current("cpu") == "reference"
    assert encode().shape == (4, 4)
    native = ops.backend.report()[0]
    assert not native.present and not native.used and "not built" in native.detail and "pip install" in native.fix
    with ops.backend.use("native"), pytest.raises(EnvironmentFault):
        encode()


def test_a_broken_library_is_reported_not_raised(no_library):
    (no_library / library.file_name("baseline")).write_bytes(b"not a library")
    library.load.cache_clear()
    assert ops.backend.current("cpu") == "reference"
    assert "cannot be loaded" in ops.backend.report()[0].detail


def test_report_names_every_part_and_how_to_get_it():
    parts = {part.name: part for part in ops.backend.report()}
    assert {"native kernels", "torch reference", "CUDA", "tinycudann", "pytorch3d", "gsplat", "triton"} == set(parts)
    for part in parts.values():
        assert part.detail
        assert part.present or part.fix
    assert any(part.used for part in parts.values())


@needs_native
def test_report_names_the_instruction_set_and_the_threads():
    detail = ops.backend.report()[0].detail
    assert library.isa() in detail and f"{torch.get_num_threads()} threads" in detail


def test_ops_sets_the_wait_policy_before_torch_loads():
    code = "import headavatar, os, sys; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    clean = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    root = os.path.dirname(os.path.dirname(os.path.abspath(ops.__file__ + "/..")))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, cwd=root, check=True)
    assert done.stdout.strip() == "PASSIVE"


@needs_native
def test_torch_and_the_library_share_one_openmp_runtime():
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    encode()
    with open("/proc/self/maps") as maps:
        runtimes = {line.split()[-1] for line in maps if "libgomp" in line or "libomp" in line or "libiomp" in line}
    ours = {path for path in runtimes if "sklearn" not in path and "scikit" not in path}
    torch_folder = os.path.dirname(torch.__file__)
    assert any(path.startswith(torch_folder) for path in ours) or len(ours) == 1
