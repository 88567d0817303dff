"""Head models that the user added: read once from their own files, kept in the cache, found again by name."""

from __future__ import annotations

import hashlib
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.errors import UsageError
from headavatar.head.derive import derive
from headavatar.head.model import load, path_of
from headavatar.head.native import NativeHead
from headavatar.head.store import read_native, write
from headavatar.pretrained import cache
from headavatar.scene import ARKIT_NAMES, Array

ADAPTERS: dict[str, str] = {"flame": "headavatar.head.adapters.flame", "ict": "headavatar.head.adapters.ict"}
"""Kind of model → the module that reads its file: `read(path) -> NativeHead` and a `TITLE`."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")


@dataclass(frozen=True)
class Report:
    """What is known of an added head.

    Attributes:
        name, kind: what it is called, and the adapter that read it.
        path: its file in the cache.
        sha256: of the user's file, or of those in the folder.
        vertices, faces, identity_modes: its size.
        distance_mm: median and 95th percentile of how far the embedded head, laid onto it, is away.
        residual_mm: ARKit name → what the model's own parameters cannot say of the shape, root mean square over the
            vertices that it moves; empty where the model has the shapes itself.
        moved_mm: ARKit name → how far the shape moves these.
        outdated: its landmarks and shapes come from another version's embedded head.
    """

    name: str
    kind: str
    path: Path
    sha256: str
    vertices: int
    faces: int
    identity_modes: int
    distance_mm: tuple[float, float]
    residual_mm: dict[str, float]
    moved_mm: dict[str, float]
    outdated: bool


def titles() -> dict[str, str]:
    """Kind of model → its title."""
    return {kind: str(importlib.import_module(module).TITLE) for kind, module in ADAPTERS.items()}


def add(kind: str, file: Path, name: str = "") -> Report:
    """Read a head model's file and keep what the pipeline needs of it.

    Args:
        kind: of `ADAPTERS`.
        file: the user's own file or folder.
        name: what to call it; its kind if "".
    Raises:
        ModelError: the file is not what it should be.
        UsageError: there is no such kind, or the name cannot be used.
    """
    if kind not in ADAPTERS:
        known = "; ".join(f"{one}: {title}" for one, title in titles().items())
        raise UsageError(f"There is no adapter for {kind!r}.", why=f"Known are {known}.")
    name = name or kind
    if not _NAME.fullmatch(name) or name == "embedded":
        raise UsageError(f"A head cannot be called {name!r}.", fix="use letters, digits, - and _")
    native: NativeHead = importlib.import_module(ADAPTERS[kind]).read(file)
    derived = derive(native, load(), name)
    expressed = derived.expressed
    about: dict[str, Any] = {
        "kind": np.array(kind), "sha256": np.array(_digest(file)), "shift": derived.shift,
        "embedded_sha256": np.array(cache.digest(path_of("embedded"))),
        "distance_mm": np.array(derived.distance_mm), "arkit": expressed.coefficients, "arkit_jaw": expressed.jaw,
        "residual_mm": expressed.residual_mm, "moved_mm": expressed.moved_mm,
    }  # fmt: skip
    with cache.staging() as folder:
        write(folder / "head.npz", derived.data, {**native.own, **about})
        target = cache.head_model(name)
        target.parent.mkdir(exist_ok=True)
        cache.place(folder / "head.npz", target)
    return report(name)


def native_arrays(name: str) -> dict[str, Array]:
    """What the adapter kept of a head that was added.

    Raises:
        ModelError: it was not added, or its file is damaged.
    """
    return read_native(path_of(name))


def report(name: str) -> Report:
    """What is known of a head that was added.

    Raises:
        ModelError: it was not added, or its file is damaged.
    """
    arrays, head = native_arrays(name), load(name)
    low, high = arrays["distance_mm"].tolist()
    has_own = not arrays["moved_mm"].any()
    return Report(
        name, str(arrays["kind"]), cache.head_model(name), str(arrays["sha256"]), head.vertex_count, len(head.faces),
        head.identity_size, (low, high), {} if has_own else _by_name(arrays["residual_mm"]),
        {} if has_own else _by_name(arrays["moved_mm"]),
        str(arrays["embedded_sha256"]) != cache.digest(path_of("embedded")),
    )  # fmt: skip


def _digest(source: Path) -> str:
    """sha256 of the user's file, or of all files of a folder, in the order of their names."""
    if not source.is_dir():
        return cache.digest(source)
    every = [f"{path.name} {cache.digest(path)}" for path in sorted(source.iterdir()) if path.is_file()]
    return hashlib.sha256("\n".join(every).encode()).hexdigest()


def _by_name(values: Array) -> dict[str, float]:
    return {name: round(float(value), 3) for name, value in zip(ARKIT_NAMES, values, strict=True)}
