"""Writes pickles as Python 2 did, of arrays, chumpy's arrays and scipy's sparse matrices: what FLAME comes in."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import scipy.sparse


class Ch:
    """Stands for chumpy's array: its state is what chumpy 0.6x leaves in a pickle."""

    def __init__(self, x: Any) -> None:
        self.x = x
        self._dirty_vars: set[str] = set()
        self._itr = None


class Select:
    """Stands for chumpy's selection of entries."""

    def __init__(self, a: Any, idxs: Any, preferred_shape: tuple[int, ...]) -> None:
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


_NAMES = {Ch: ("chumpy.ch", "Ch"), Select: ("chumpy.reordering", "Select")}


class _Writer(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Protocol 2 with byte strings for text and for arrays' content, and the module names of that time."""

    dispatch = pickle._Pickler.dispatch.copy()  # type: ignore[attr-defined]

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=2)

    def _string(self, value: str | bytes) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw)

    dispatch[str] = dispatch[bytes] = _string

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj in _NAMES:
            module, name = _NAMES[obj]
        elif isinstance(obj, type) and issubclass(obj, scipy.sparse.spmatrix):
            module, name = f"scipy.sparse.{obj.__name__[:3]}", obj.__name__
        else:
            module, name = obj.__module__, obj.__qualname__
            module = {"numpy._core.multiarray": "numpy.core.multiarray", "builtins": "__builtin__"}.get(module, module)
        self.write(b"c" + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    dispatch[type] = save_global
    dispatch[type(pickle.dumps)] = save_global

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, scipy.sparse.coo_matrix):
            state = {"_shape": obj.shape, "row": obj.row, "col": obj.col, "data": obj.data, "maxprint": 50}
            return (_new, (type(obj),), state)
        if isinstance(obj, (scipy.sparse.csc_matrix, scipy.sparse.csr_matrix)):
            state = {"_shape": obj.shape, "indices": obj.indices, "indptr": obj.indptr, "data": obj.data}
            return (_new, (type(obj),), {**state, "maxprint": 50})
        if isinstance(obj, tuple(_NAMES)):
            return (_new, (type(obj),), vars(obj))
        return NotImplemented

    def save_reduce(self, func: Any, args: Any, state: Any = None, *rest: Any, obj: Any = None, **more: Any) -> None:
        if func is not _new:
            super().save_reduce(func, args, state, *rest, obj=obj, **more)
            return
        self.save(args[0])
        self.write(b")\x81")
        self.memoize(obj)
        self.save(state)
        self.write(b"b")


def _new() -> None:
    """Marks objects that Python 2 makes by their class alone."""


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a dict of arrays as Python 2 would have."""
    with path.open("wb") as file:
        _Writer(file).dump(content)
