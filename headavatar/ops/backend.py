"""Which backend a kernel runs on: chosen here and nowhere else, forced by `use` or `HEADAVATAR_OPS`.

"native" is the C++ library on CPU float32 tensors, "reference" plain torch on any device and dtype. On CUDA float32
tensors "triton" is our own kernels; "tinycudann" is the same with its half-precision networks in place of ours.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from headavatar.errors import EnvironmentFault, UsageError
from headavatar.ops.cuda import available
from headavatar.ops.native import library

NAMES = ("native", "reference", "triton", "tinycudann")
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
        one of `NAMES`.
    Raises:
        UsageError: the forced name is unknown.
        EnvironmentFault: what is forced is for this device and not there.
    """
    name = _requested()
    if name == "reference":
        return name
    kind = device if device == "cpu" else torch.device(device).type
    if kind == "cuda":
        return _on_cuda(name)
    if kind != "cpu":
        return "reference"
    if name == "triton" and available.interpreted():
        return name
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


def _on_cuda(name: str | None) -> str:
    """What CUDA tensors use: the name asked for, or the best that is there."""
    faults = {"tinycudann": available.tinycudann_fault(), "triton": available.triton_fault()}
    if name in faults:
        if faults[name]:
            raise EnvironmentFault(
                f"{name} was asked for and cannot run", why=faults[name], fix="see `headavatar doctor`"
            )  # fmt: skip
        return name
    if name == "native":
        return "reference"
    return next((each for each, fault in faults.items() if not fault), "reference")


@contextmanager
def use(name: str) -> Iterator[None]:
    """Force a backend inside a `with` block.

    Args:
        name: one of `NAMES`.
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


def is_triton(*tensors: torch.Tensor) -> bool:
    """Whether a call on these tensors goes to the Triton kernels: all on one card, floating ones float32.

    In its interpreter (TRITON_INTERPRET=1) they take CPU tensors, where "triton" is forced.
    """
    device = tensors[0].device
    if any(t.device != device or (t.is_floating_point() and t.dtype != torch.float32) for t in tensors):
        return False
    if device.type not in ("cpu", "cuda"):
        return False
    return current(device) in ("triton", "tinycudann")


def is_pytorch3d(vertices: torch.Tensor) -> bool:
    """Whether pytorch3d draws meshes: where it imports, on CUDA float32 tensors, unless a backend is forced."""
    if vertices.device.type != "cuda" or vertices.dtype != torch.float32 or _requested() is not None:
        return False
    return not available.missing("pytorch3d")


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


def _running(device: str) -> str:
    """`current`, or "nothing" where calls would fail for want of what is forced."""
    try:
        return current(device)
    except EnvironmentFault:
        return "nothing"


def report() -> list[Part]:
    """Every backend and every library that kernels can run on; imports them, so it takes a second.

    Returns:
        Parts, the ones in use first.
    """
    state = library.load()
    here, there = _running("cpu"), _running("cuda") if torch.cuda.is_available() else ""
    if state.handle is not None:
        detail = f"{library.isa()}, {state.handle.ha_threads()} threads"
        native = Part("native kernels", True, here == "native", detail)
    else:
        fix = "pip install --force-reinstall --no-deps headavatar, with g++ or clang installed"
        native = Part("native kernels", False, False, f"{state.reason}; fitting is 10 to 30 times slower", fix)
    if there:
        name = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
        card = Part("CUDA", True, True, f"{name}; runs on {there}, {UNTRIED}")
    elif torch.version.cuda is None:
        card = Part("CUDA", False, False, "this torch was built without CUDA", "see pytorch.org for the CUDA build")
    else:
        card = Part("CUDA", False, False, "no NVIDIA card or driver", "install the NVIDIA driver")
    reference = Part("torch reference", True, "reference" in (here, there), f"torch {torch.__version__}")
    libraries = [_library(name, command, there) for name, command in _LIBRARIES.items()]
    return [native, reference, card, *libraries]


UNTRIED = "not yet run on a GPU"

_LIBRARIES = {
    "tinycudann": "pip install --no-build-isolation 'setuptools<81' "
    "'git+https://github.com/NVlabs/tiny-cuda-nn#subdirectory=bindings/torch'",
    "pytorch3d": "pip install --no-build-isolation iopath 'git+https://github.com/facebookresearch/pytorch3d'",
    "gsplat": "pip install gsplat",
    "triton": "pip install triton",
}


_CALLED = {
    "tinycudann": ("the field's networks, in half precision", ("tinycudann",)),
    "triton": ("our own kernels of the radiance field and the mesh", ("triton", "tinycudann")),
    "pytorch3d": ("which face a pixel sees, unless a backend is forced", ("triton", "tinycudann", "reference")),
}
"""Of the libraries that calls go to: what runs on them, and under which backends."""


def _library(name: str, command: str, there: str) -> Part:
    """Whether a GPU library imports, and whether calls on CUDA tensors, whose backend is `there`, go to it."""
    missing = available.missing(name)
    if missing:
        return Part(name, False, False, missing if there else f"{missing}; of use with an NVIDIA card only", command)
    version = f"version {getattr(importlib.import_module(name), '__version__', 'unknown')}"
    if name not in _CALLED:
        return Part(name, True, False, f"{version}; not called by this version")
    what, backends = _CALLED[name]
    used = there in backends and not (name == "pytorch3d" and _requested())
    idle = "" if used else "; of use with an NVIDIA card only" if not there else f"; not called: {there} is used"
    return Part(name, True, used, f"{version}; {what}{idle}, {UNTRIED}")
