"""Takes arrays out of pickles without running anything that a pickle may hold.

A pickle names the functions that put its content together, and Python's own unpickler calls whatever it names. Here
only the names in a short table exist. All of them are inert: they copy bytes into arrays or remember what they were
given; no attribute can be set on them, and nothing of scipy or chumpy is imported.
"""

from __future__ import annotations

import math
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.errors import ModelError
from headavatar.scene import Array

_FAULTS = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError, MemoryError,
    OverflowError, ImportError, RecursionError, UnicodeError, AssertionError, struct.error,
)  # fmt: skip
"""What a damaged or hostile pickle can make the unpickler raise."""


class _Call:
    """A function on which no attribute can be set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, "_function"):
            raise AttributeError("it is not to be changed")
        object.__setattr__(self, name, value)


class _NdarrayName:
    """The name numpy.ndarray, which a pickle hands to `_reconstruct`."""

    __slots__ = ()


class _Kind:
    """Stands for a numpy.dtype: numpy's own would crash the program when it is restored from nonsense."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("numbers in no known byte order")
        self.dtype = self.dtype if order == "|" else self.dtype.newbyteorder(order)


class _Numbers:
    """Stands for a numpy.ndarray until it is settled, for the same reason."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, data = state
        self.array = _array(data, kind, shape, "F" if by_columns is True or by_columns == 1 else "C")


class Remembered:
    """Stands for an object of a library that is not wanted: holds its pickled state and does nothing.

    Attributes:
        kind: the class that the pickle names, as "module.Name".
        state: what it was restored with.
    """

    __slots__ = ("state",)
    kind = ""
    state: Any

    def __new__(cls, *args: Any) -> Remembered:
        made = object.__new__(cls)
        made.state = {}
        return made

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


_NDARRAY = _NdarrayName()
_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")


def _kind(code: Any, *flags: Any) -> _Kind:
    code = code.decode("latin1") if isinstance(code, bytes) else code
    if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
        raise pickle.UnpicklingError("only plain numbers are read")
    return _Kind(np.dtype(code))


def _array(data: Any, kind: Any, shape: Any, order: Any) -> Array:
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data) if isinstance(data, bytes) else None
    if raw is None or not isinstance(kind, _Kind) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise pickle.UnpicklingError("only plain arrays are read")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise pickle.UnpicklingError("an array of no size")
    if math.prod(shape) * kind.dtype.itemsize != len(raw):
        raise pickle.UnpicklingError("an array that is shorter or longer than it says")
    return np.frombuffer(raw, kind.dtype).reshape(shape, order=order).copy()


def _empty(kind: Any, shape: Any, dtype: Any) -> _Numbers:
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError("only plain arrays are read")
    return _Numbers()


def _scalar(kind: Any, data: Any = None) -> Any:
    return _array(data, kind, (), "C")[()]


def _from_buffer(buffer: Any, kind: Any, shape: Any, order: Any, *rest: Any) -> Array:
    return _array(bytes(buffer), kind, shape, order)


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text in {encoding} is not read")
    return str(text).encode("latin1")


def _remade(kind: Any, base: Any, state: Any) -> Remembered:
    if not (isinstance(kind, type) and issubclass(kind, Remembered)):
        raise pickle.UnpicklingError("only arrays are read")
    return kind()


def _remembered(kind: str) -> type[Remembered]:
    return type("Remembered", (Remembered,), {"__slots__": (), "kind": kind})


_NUMPY: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Call(_kind),
    ("_codecs", "encode"): _Call(_encode),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Call(_empty) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Call(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Call(_from_buffer) for core in ("core", "_core")},
}

_SPARSE = {
    (module, f"{layout}_{kind}"): f"scipy.sparse.{layout}_matrix"
    for layout in ("csc", "csr", "coo")
    for kind in ("matrix", "array")
    for module in ("scipy.sparse", f"scipy.sparse.{layout}", f"scipy.sparse._{layout}")
}
_CHUMPY = {("chumpy.ch", "Ch"): "chumpy.ch.Ch", ("chumpy.reordering", "Select"): "chumpy.reordering.Select"}

PLAIN: Mapping[tuple[str, str], Any] = _NUMPY
"""What a pickle of numpy arrays may name."""

SCIENTIFIC: Mapping[tuple[str, str], Any] = {
    **_NUMPY,
    **{(module, "_reconstructor"): _Call(_remade) for module in ("copy_reg", "copyreg")},
    **{(module, "object"): object for module in ("__builtin__", "builtins")},
    **{(module, "set"): set for module in ("__builtin__", "builtins")},
    **{name: _remembered(kind) for name, kind in {**_SPARSE, **_CHUMPY}.items()},
}
"""The same, and scipy's sparse matrices and chumpy's arrays, as Python 2 wrote them."""


class ArrayUnpickler(pickle._Unpickler):
    """Unpickles containers of arrays and refuses everything else, so that no code in a file can run.

    It is Python's own in Python, since a damaged file cannot make that one reach outside of its memory.

    Args:
        file: opened for reading bytes.
        allowed: (module, name) → what stands for it.
    """

    def __init__(self, file: Any, allowed: Mapping[tuple[str, str], Any] = PLAIN) -> None:
        super().__init__(file, encoding="latin1")  # Python 2 kept an array's bytes in a string
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array, so nothing of it was run")
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it points outside of itself")


def _settled(value: Any, known: dict[int, Any]) -> Any:
    """A pickled value with arrays in place of what stood for them; `known` holds what was settled before, by id."""
    if isinstance(value, _Numbers):
        return value.array
    if isinstance(value, (_Kind, _Call, _NdarrayName)):
        raise pickle.UnpicklingError("it holds something that is no array")
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, dict):
        made: Any = {}
        known[id(value)] = made
        made.update((key, _settled(item, known)) for key, item in value.items())
    elif isinstance(value, list):
        made = []
        known[id(value)] = made
        made.extend(_settled(item, known) for item in value)
    elif isinstance(value, tuple):
        made = tuple(_settled(item, known) for item in value)
        known[id(value)] = made
    elif isinstance(value, Remembered):
        known[id(value)] = made = value
        value.state = _settled(value.state, known)
    else:
        return value
    return made


def unpickle(path: Path, what: str, fix: str, allowed: Mapping[tuple[str, str], Any] = PLAIN) -> dict[str, Any]:
    """Read a pickle of a dict of arrays.

    Args:
        path: the file.
        what: it should be, as in "a file of weights".
        fix: what the user can do when it is not.
        allowed: `PLAIN` or `SCIENTIFIC`.
    Raises:
        ModelError: it cannot be read, or holds anything but arrays.
    """
    try:
        with path.open("rb") as file:
            content = _settled(ArrayUnpickler(file, allowed).load(), {})
    except OSError as error:
        raise ModelError(f"{path} cannot be read", why=error.strerror or str(error), fix=fix) from error
    except _FAULTS as error:
        if isinstance(error, pickle.UnpicklingError):  # a refusal, or pickle's own words
            reason = str(error)
        else:
            reason = "it is no pickle, or a damaged one (" + f"{type(error).__name__}: {error}".rstrip(": ") + ")"
        raise ModelError(f"{path} is not {what}", why=reason, fix=fix) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not {what}", why=f"it holds a {type(content).__name__}, not a dict", fix=fix)
    return content


def dense(value: Any) -> Array:
    """The array that a pickled value stands for: numpy's own, chumpy's, or a sparse matrix filled in.

    Raises:
        ValueError: it stands for none, or for more numbers than a head model has.
    """
    if isinstance(value, Remembered):
        state = value.state
        if not isinstance(state, dict):
            raise ValueError(f"a {value.kind} without content")
        try:
            value = _EVALUATED[value.kind](state)
        except (KeyError, IndexError, TypeError, AttributeError, MemoryError, RecursionError) as error:
            raise ValueError(f"a damaged {value.kind}: {error}") from error
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"an array of {array.dtype} where numbers should be")
    return array


def _select(state: dict[str, Any]) -> Array:
    return dense(state["a"]).ravel()[dense(state["idxs"])].reshape(state["preferred_shape"])


def _shape(state: dict[str, Any]) -> tuple[int, int]:
    rows, columns = (int(size) for size in state.get("_shape", state.get("shape")))  # type: ignore[union-attr]
    if min(rows, columns) < 0 or rows * columns > _MOST_ENTRIES:
        raise ValueError(f"a sparse matrix of {rows} x {columns}")
    return rows, columns


def _compressed(state: dict[str, Any], by_column: bool) -> Array:
    shape = _shape(state)
    pointers, minor, data = (dense(state[key]) for key in ("indptr", "indices", "data"))
    major = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    return _filled(shape, (minor, major) if by_column else (major, minor), data)


def _coordinates(state: dict[str, Any]) -> Array:
    row, column = (dense(part) for part in (state["coords"] if "coords" in state else (state["row"], state["col"])))
    return _filled(_shape(state), (row, column), dense(state["data"]))


def _filled(shape: tuple[int, int], where: tuple[Array, Array], data: Array) -> Array:
    filled = np.zeros(shape, np.float64)
    np.add.at(filled, where, data)  # sparse matrices may name an entry twice: it is the sum
    return filled


_MOST_ENTRIES = 50_000_000

_EVALUATED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "chumpy.ch.Ch": lambda state: dense(state["x"]),
    "chumpy.reordering.Select": _select,
    "scipy.sparse.csc_matrix": lambda state: _compressed(state, True),
    "scipy.sparse.csr_matrix": lambda state: _compressed(state, False),
    "scipy.sparse.coo_matrix": _coordinates,
}
