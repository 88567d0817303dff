"""Finds, loads and describes the native library; torch is imported first so that both share one OpenMP runtime."""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

ABI = 21
"""Raised with every change of the C functions' arguments; `ha_abi` returns the library's."""

VARIANTS = ("baseline", "avx2", "avx512", "amx")
"""Instruction sets that the library is built for, slowest first."""

FOLDER = Path(__file__).parent / "_lib"


@dataclass(frozen=True)
class LibraryState:
    """What became of loading the library.

    Attributes:
        handle: the loaded library, or None.
        path: where it was found, or None.
        reason: why there is no handle; empty if there is one.
    """

    handle: ctypes.CDLL | None
    path: Path | None
    reason: str


def file_name(isa: str) -> str:
    """A variant's file name on this system."""
    return f"libheadavatar_ops_{isa}" + (".dylib" if sys.platform == "darwin" else ".so")


@cache
def load() -> LibraryState:
    """Load the variant of the library that is the fastest on this processor, once.

    `HEADAVATAR_ISA` set to one of the slower ones takes that, so that each can be tested on one machine.

    Returns:
        The state, with a reason where there is no library or it cannot be used.
    """
    # An editable install leaves Python files in the checkout and puts built ones into site-packages.
    folders = (FOLDER, Path(sysconfig.get_path("platlib")) / "headavatar" / "ops" / "native" / "_lib")
    folder = next((folder for folder in folders if (folder / file_name(VARIANTS[0])).is_file()), None)
    if folder is None:
        return LibraryState(None, None, "the library was not built: no C++ compiler at install time")
    path = folder / file_name(VARIANTS[0])
    try:
        library = ctypes.CDLL(str(path))
        if library.ha_abi() != ABI:
            return LibraryState(None, path, f"{path.name} is of another version (ABI {library.ha_abi()}, not {ABI})")
        library.ha_best_isa.restype = ctypes.c_char_p
        wanted = os.environ.get("HEADAVATAR_ISA") or VARIANTS[-1]
        best = VARIANTS.index(library.ha_best_isa().decode())
        for isa in reversed(VARIANTS[: 1 + min(best, VARIANTS.index(wanted) if wanted in VARIANTS else best)]):
            path = folder / file_name(isa)
            if path.is_file():
                library = ctypes.CDLL(str(path))
                break
        library.ha_isa.restype = ctypes.c_char_p
        library.ha_tile.restype = library.ha_row_block.restype = ctypes.c_int64
        library.ha_tune_allocator()
    except (OSError, AttributeError) as error:
        return LibraryState(None, path, f"{path.name} cannot be loaded: {error}")
    return LibraryState(library, path, "")


def handle() -> ctypes.CDLL:
    """The loaded library; only called where `backend.current` said "native"."""
    loaded = load().handle
    assert loaded is not None
    return loaded


def isa() -> str:
    """The instruction set that the library chose on this machine."""
    return str(handle().ha_isa().decode())


def pointer(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    """A contiguous tensor's address; null for None."""
    if tensor is None:
        return ctypes.c_void_p(None)
    assert tensor.is_contiguous()
    return ctypes.c_void_p(tensor.data_ptr())


def size(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)
