"""Builds the native library in a checkout: `python -m headavatar.ops.build`. The wheel's build runs the same CMake."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from headavatar.errors import EnvironmentFault

ROOT = Path(__file__).resolve().parents[2]


def build(root: Path = ROOT) -> Path:
    """Configure, compile and install the library into headavatar/ops/native/_lib.

    Args:
        root: the checkout, where CMakeLists.txt is.
    Returns:
        The library's folder.
    Raises:
        EnvironmentFault: no checkout, no CMake, no compiler, or the compiler failed.
    """
    folder = root / "headavatar" / "ops" / "native" / "_lib"
    if not (root / "CMakeLists.txt").is_file():
        raise EnvironmentFault(
            "the native kernels cannot be built here",
            why=f"{root} is an installed package, not a checkout",
            fix="install a C++ compiler, then run `pip install --force-reinstall --no-deps headavatar`",
        )
    cmake = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
    if cmake is None:
        raise EnvironmentFault("cmake was not found", fix="run `pip install cmake ninja`")
    with tempfile.TemporaryDirectory() as scratch:
        _run([cmake, "-S", str(root), "-B", scratch, "-DCMAKE_BUILD_TYPE=Release"])
        _run([cmake, "--build", scratch, "--parallel", str(os.cpu_count() or 1)])
        _run([cmake, "--install", scratch, "--prefix", str(root)])
    if not any(folder.glob("libheadavatar_ops_*")):
        raise EnvironmentFault(
            "nothing was built",
            why="CMake found no GCC or Clang",
            fix="install one, for example `apt install g++` or `xcode-select --install`",
        )
    return folder


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise EnvironmentFault("building the native kernels failed", why=tail, fix="see the compiler's message above")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.info("built %s", build())
