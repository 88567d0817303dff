"""Which backend a kernel runs on: chosen here and nowhere else, forced by `use` or `HEADAVATAR_OPS`.

"native" is the C++ library on CPU float32 tensors, "reference" plain torch on any device and dtype.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
