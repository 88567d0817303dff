"""Which backend a kernel runs on: chosen here and nowhere else, forced by `use` or `HEADAVATAR_OPS`.

"native" is the C++ library on CPU float32 tensors, "reference" plain torch on any device and dtype.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from headavatar.errors import EnvironmentFault, UsageError
from headavatar.ops.native import library

NAMES = ("native", "reference")
ENVIRONMENT_VARIABLE = "HEADAVATAR_OPS"

_forced: str | None = None


def _requested() -> str | None:
    name = _forced or os.environ.get(ENVIRONMENT_VARIABLE) or None
    if name is not None and name not in NAMES:
        raise UsageError(
            f"there is no backend called {name!r}",
            why=f"{ENVIRONMENT_VARIABLE} and ops.backend.use take one of {', '.join(NAMES)}",
            fix=f"unset {ENVIRONMENT_VARIABLE}, or set it to one of them",
        )
    return name


def current(device: str | torch.device = "cpu") -> str:
    """The backend that calls on this device use.

    Args:
        device: where the tensors are.
    Returns:
        "native" or "reference".
    Raises:
        UsageError: the forced name is unknown.
        EnvironmentFault: "native" is forced and the library is not there.
    """
    name = _requested()
    if name == "reference":
        return name
    if torch.device(device).type != "cpu":
        return "reference"
    state = library.load()
    if state.handle is not None:
        return "native"
    if name == "native":
        raise EnvironmentFault(
            "the native kernels were asked for and are not there",
            why=state.reason,
            fix="run `python -m headavatar.ops.build`, or unset HEADAVATAR_OPS",
        )
    return "reference"


@contextmanager
def use(name: str) -> Iterator[None]:
    """Force a backend inside a `with` block.

    Args:
        name: "native" or "reference".
    Raises:
        UsageError: the name is unknown.
    """
    global _forced
    before = _forced
    _forced = name
    try:
        _requested()
        yield
    finally:
        _forced = before


def is_native(*tensors: torch.Tensor) -> bool:
    """Whether a call on these tensors goes to the native library: all on CPU, floating ones float32."""
    if any(t.device.type != "cpu" or (t.is_floating_point() and t.dtype != torch.float32) for t in tensors):
        return False
    return current("cpu") == "native"


@dataclass(frozen=True)
class Part:
    """One thing that kernels can run on, as `doctor` shows it.

    Attributes:
        name: what it is.
        present: whether it is there and works.
        used: whether calls of this version run on it.
        detail: version, instruction set, threads, or why it is absent.
        fix: the command that gets it; empty where it is present.
    """

    name: str
    present: bool
    used: bool
    detail: str
    fix: str = ""


def report() -> list[Part]:
    """Every backend and every library that kernels can run on; imports them, so it takes a second.

    Returns:
        Parts, the ones in use first.
    """
    state = library.load()
    cuda = torch.cuda.is_available()
    if state.handle is not None:
        detail = f"{library.isa()}, {state.handle.ha_threads()} threads"
        native = Part("native kernels", True, _requested() != "reference", detail)
    else:
        fix = "pip install --force-reinstall --no-deps headavatar, with g++ or clang installed"
        native = Part("native kernels", False, False, f"{state.reason}; fitting is 10 to 30 times slower", fix)
    if cuda:
        card = Part("CUDA", True, True, f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; torch reference")
    elif torch.version.cuda is None:
        card = Part("CUDA", False, False, "this torch was built without CUDA", "see pytorch.org for the CUDA build")
    else:
        card = Part("CUDA", False, False, "no NVIDIA card or driver", "install the NVIDIA driver")
    reference = Part("torch reference", True, not native.used, f"torch {torch.__version__}")
    libraries = [_library(name, command, cuda) for name, command in _LIBRARIES.items()]
    return [native, reference, card, *libraries]


_LIBRARIES = {
    "tinycudann": "pip install --no-build-isolation 'setuptools<81' "
    "'git+https://github.com/NVlabs/tiny-cuda-nn#subdirectory=bindings/torch'",
    "pytorch3d": "pip install --no-build-isolation iopath 'git+https://github.com/facebookresearch/pytorch3d'",
    "gsplat": "pip install gsplat",
    "triton": "pip install triton",
}


def _library(name: str, command: str, cuda: bool) -> Part:
    """Whether a GPU library imports; none of them is called yet: on CUDA the torch reference runs."""
    if importlib.util.find_spec(name) is None:
        why = "not installed" if cuda else "not installed; of use with an NVIDIA card only"
        return Part(name, False, False, why, command)
    try:
        module = importlib.import_module(name)
    except Exception as error:  # without a card tinycudann raises OSError, others what their loader meets
        return Part(name, False, False, f"{type(error).__name__}: {str(error).splitlines()[0]}", command)
    return Part(name, True, False, f"version {getattr(module, '__version__', 'unknown')}; not called by this version")
