"""Whether there is a card that the Triton kernels run on, and whether tinycudann is of use."""

from __future__ import annotations

import importlib
import importlib.util
import os
from functools import cache

import torch

LEAST_CAPABILITY = (8, 0)
"""The oldest cards that the kernels were compiled for: Ampere."""


def interpreted() -> bool:
    """Whether Triton kernels run on CPU tensors, in its interpreter: slow, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def missing(library: str) -> str:
    """Why a library does not import; empty where it does."""
    if importlib.util.find_spec(library) is None:
        return "not installed"
    try:
        importlib.import_module(library)
    except Exception as error:  # without a card tinycudann raises OSError, others what their loader meets
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return ""


@cache
def _card() -> str:
    if not torch.cuda.is_available():
        return "no NVIDIA card"
    capability = torch.cuda.get_device_capability()
    if capability < LEAST_CAPABILITY:
        return f"compute capability {capability[0]}.{capability[1]}, and the kernels need 8.0"
    return ""


def triton_fault() -> str:
    """Why the Triton kernels cannot run on CUDA tensors; empty where they can."""
    return _card() or missing("triton")


def tinycudann_fault() -> str:
    """Why tinycudann's networks cannot run; empty where they can. The rest is Triton's, so both are needed."""
    return triton_fault() or missing("tinycudann")
