"""`doctor`: what is there, what is not, why, and how to get it."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from headavatar.cli import checks


def test_two_versions_of_opencv_are_called_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        return "4.9.0.80" if name == "opencv-contrib-python" else real(name)

    assert checks.opencv().state == "present"
    monkeypatch.setattr(importlib.metadata, "version", version)
    part = checks.opencv()
    assert part.state == "broken" and "4.9.0.80" in part.detail and "opencv-contrib-python==" in part.fix


def test_a_package_is_present_absent_or_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.package("numpy", "numpy", needed=True, fix="").state == "present"
    absent = checks.package("nosuchpackage", "nosuchpackage", needed=True, fix="pip install nosuchpackage")
    assert (absent.state, absent.fix) == ("absent", "pip install nosuchpackage")
    (tmp_path / "brokenpackage.py").write_text("raise OSError('libfoo.so.1: cannot open')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    broken = checks.package("brokenpackage", "brokenpackage", needed=True, fix="")
    assert broken.state == "broken" and "libfoo" in broken.detail


def test_every_part_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path))
    found = [*checks.kernels(), *checks.networks(), *checks.libraries(), checks.ffmpeg()]
    assert all(part.fix for part in found if part.state != "present" and part.name != "CUDA")
    assert any("in use" in part.detail for part in found), "no backend computes"
    assert all(part.state == "absent" for part in checks.networks()), "an empty cache holds no network"
    assert checks.machine()["cores"] >= 1
