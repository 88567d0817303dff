"""Fixtures that every room's tests share."""

from __future__ import annotations

import secrets
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
