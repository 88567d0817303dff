"""Fixtures that every room's tests share."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fake_stages
import flame_like
import numpy as np
import pytest
import torch

from headavatar import ops
from headavatar.head import added
from headavatar.ops.native import library
from headavatar.pipeline import STAGES
from headavatar.workspace import Workspace


@pytest.fixture
def seed() -> int:
    """A fresh seed for every test; printed, so that a failure can be repeated."""
    value = secrets.randbits(31)
    print(f"seed {value}")
    return value


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """Random inputs, new in every run."""
    return np.random.default_rng(seed)


@pytest.fixture
def generator(seed: int) -> torch.Generator:
    """Random tensors, new in every run."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["native", "reference"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each backend of kernels on the processor in turn."""
    if request.param == "native" and library.load().handle is None:
        pytest.skip("the native library is not built")
    with ops.backend.use(request.param):
        yield request.param


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace.create(tmp_path / "anna.avatar")


@pytest.fixture
def fakes() -> Iterator[None]:
    """Stages that take milliseconds in the place of the real ones."""
    real = dict(STAGES)
    fake_stages.install()
    yield
    STAGES.clear()
    STAGES.update(real)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB; needs the right to mount."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield folder
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def _flame_added(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, added.Report]:
    folder = tmp_path_factory.mktemp("flame")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADAVATAR_CACHE", str(folder / "cache"))
        report = added.add("flame", flame_like.make().pickle(folder / "generic_model.pkl"))
    return folder / "cache", report


@pytest.fixture
def flame_cache(_flame_added: tuple[Path, added.Report], monkeypatch: pytest.MonkeyPatch) -> added.Report:
    """A cache to which a FLAME-shaped model was added under the name "flame"; the report on it."""
    monkeypatch.setenv("HEADAVATAR_CACHE", str(_flame_added[0]))
    return _flame_added[1]
