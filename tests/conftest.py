"""Fixtures that every room's tests share."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fake_stages
import numpy as np
import pytest

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
