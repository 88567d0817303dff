"""Arrays come out of pickles; nothing that a pickle names is run."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from python2_pickle import Ch, Select, write

from headavatar.errors import ModelError
from headavatar.pretrained.unpickle import PLAIN, SCIENTIFIC, dense, unpickle


class Does:
    """Runs a call when it is unpickled, as a malicious file would have it."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.reduced = (call, args)

    def __reduce__(self) -> Any:
        return self.reduced


def read(path: Path, allowed: Any = SCIENTIFIC) -> dict[str, Any]:
    return unpickle(path, "a file of arrays", "get another", allowed)


def traps(proof: Path) -> dict[str, Any]:
    shell = f"touch {proof}"
    return {
        "os.system": Does(os.system, shell),
        "eval": Does(eval, f"__import__('os').system({shell!r})"),
        "subprocess": Does(subprocess.call, ["touch", str(proof)]),
        "open": Does(open, str(proof), "w"),
        "numpy": Does(np.save, str(proof), 1),
        "import": Does(__import__, "antigravity"),
        "inside chumpy": Ch(Does(os.system, shell)),
        "inside a list": [{"a": (1, Does(os.system, shell))}],
    }


@pytest.mark.parametrize("name", traps(Path("x")))
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused(tmp_path: Path, name: str, protocol: int) -> None:
    proof, file = tmp_path / "ran", tmp_path / "model.pkl"
    content = {"v_template": np.zeros((4, 3)), "f": traps(proof)[name]}
    try:
        file.write_bytes(pickle.dumps(content, protocol))
    except Exception:  # a class that only stands for chumpy's can be written in Python 2's way only
        write(file, content)
    for allowed in (PLAIN, SCIENTIFIC):
        with pytest.raises(ModelError) as caught:
            read(file, allowed)
        assert caught.value.exit_code == 5 and caught.value.fix and caught.value.why
        assert not list(tmp_path.glob("ran*"))


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x02cnumpy\ndtype\nN}U\x01fU\x01xs\x86b.",  # state for a class
        b"\x80\x02c_codecs\nencode\n}U\x09_functionU\x01xsb.",  # state for a stand-in
        b"\x80\x02c_codecs\nencode\nN}U\x09_functionU\x01xs\x86b.",
        b"\x80\x02cchumpy.ch\nCh\nN}U\x0c__setstate__U\x01xs\x86b.",
        b"\x80\x02cnumpy\nndarray\n(K\x04\x85tR.",  # an array that nobody asked for
        b"\x80\x02ccopy_reg\n_reconstructor\n(c__builtin__\nset\nc__builtin__\nset\nNtR.",
        b"\x80\x02c__builtin__\nobject\nN}U\x01aU\x01bs\x86b.",
        b"\x80\x02U\x01aQ.",  # something outside of the file
        b"\x80\x02]q\x00.",
        b"\x89PNG\r\n",
        b"",
    ],
)
def test_nothing_is_changed_or_made_by_odd_pickles(tmp_path: Path, code: bytes) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(code)
    with pytest.raises(ModelError):
        read(file)
    good = tmp_path / "good.pkl"
    write(good, {"a": Ch(np.arange(3.0))})
    assert np.array_equal(dense(read(good)["a"]), np.arange(3.0))


def test_damaged_files_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    file = tmp_path / "model.pkl"
    write(file, {"a": rng.normal(size=(50, 3)), "b": Ch(rng.normal(size=9))})
    whole = file.read_bytes()
    for _ in range(200):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            damaged[at] = rng.integers(256)
        file.write_bytes(damaged[: rng.integers(1, len(whole) + 1)])
        try:
            content = read(file)
        except ModelError:
            continue
        for value in content.values():
            with contextlib.suppress(ValueError):
                dense(value)


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x00\x20ftypisom", b"{}"])
def test_what_is_no_pickle_is_called_that(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="no pickle"):
        read(file)


@pytest.mark.parametrize("layout", ["csc", "csr", "coo"])
def test_sparse_and_chumpy_arrays_are_filled_in(tmp_path: Path, rng: np.random.Generator, layout: str) -> None:
    full = rng.normal(size=(5, 40)) * (rng.random((5, 40)) < 0.2)
    matrix = scipy.sparse.coo_matrix(full).asformat(layout)
    basis = rng.normal(size=(7, 3, 4))
    order = rng.permutation(basis.size)
    file = tmp_path / "model.pkl"
    write(file, {"J": matrix, "basis": Ch(basis), "some": Select(Ch(basis), order, (4, 21)), "n": np.float64(2.5)})
    content = read(file)
    assert np.array_equal(dense(content["J"]), full)
    assert np.array_equal(dense(content["basis"]), basis)
    assert np.array_equal(dense(content["some"]), basis.ravel()[order].reshape(4, 21))
    assert float(dense(content["n"])) == 2.5


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_arrays_of_every_protocol(tmp_path: Path, rng: np.random.Generator, protocol: int) -> None:
    arrays = {"f": rng.normal(size=(6, 3)).astype(np.float32), "i": np.asfortranarray(rng.integers(0, 9, (4, 2)))}
    file = tmp_path / "arrays.pkl"
    file.write_bytes(pickle.dumps(arrays, protocol))
    content = read(file, PLAIN)
    assert all(np.array_equal(content[key], value) for key, value in arrays.items())
