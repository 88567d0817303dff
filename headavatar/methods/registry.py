"""The list of methods: ours, and those that other packages announce under the entry-point group `headavatar.methods`.

An entry point's value is "package.module:SPEC", a `MethodSpec`; its module must import nothing heavy.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

from ..errors import EnvironmentFault, HeadAvatarError, UsageError, WorkspaceError
from .base import Avatar, MethodSpec

GROUP = "headavatar.methods"
OURS = {
    "nerf-blendshape": "headavatar.methods.nerf_blendshape.settings:SPEC",
    "neural-head-avatar": "headavatar.methods.neural_head_avatar.settings:SPEC",
}


def list_methods() -> list[dict[str, Any]]:
    """One row per method: name, title, needs, installed, source, missing."""
    rows = []
    for name in sorted(_locations()):
        try:
            spec = get(name)
        except HeadAvatarError as error:
            rows.append(
                {"name": name, "title": error.what, "needs": [], "missing": [], "installed": False, "source": ""}
            )
            continue
        missing = [module for module in spec.needs if not _importable(module)]
        rows.append(
            {
                "name": name,
                "title": spec.title,
                "needs": list(spec.needs),
                "missing": missing,
                "installed": not missing,
                "source": spec.source,
            }  # fmt: skip
        )
    return rows


def get(name: str) -> MethodSpec:
    """The description of a method.

    Raises:
        UsageError: no method has that name.
        EnvironmentFault: another package announces it, and its description does not import.
    """
    locations = _locations()
    if name not in locations:
        near = difflib.get_close_matches(name, locations, n=1)
        raise UsageError(
            f"There is no method called {name!r}.",
            why=f"known: {', '.join(sorted(locations))}",
            fix=f"did you mean `--method {near[0]}`?" if near else "`headavatar methods` lists them",
        )
    try:
        spec = _load(locations[name])
    except ImportError as error:
        raise EnvironmentFault(
            f"The method {name!r} is announced, but {locations[name]} does not import.",
            why=str(error),
            fix="reinstall or remove the package that provides it",
        ) from error
    return spec


def trainer_class(spec: MethodSpec) -> Any:
    """Import a method's trainer."""
    return _load(spec.trainer)


def load_avatar(folder: str | Path, device: str = "cpu") -> Avatar:
    """Read an avatar of any method.

    Args:
        folder: holds avatar.json and what the method wrote beside it.
        device: where to put its tensors.
    Raises:
        WorkspaceError: the folder has no readable avatar.json.
        UsageError: the method that made it is not known here.
    """
    path = Path(folder) / "avatar.json"
    try:
        method = json.loads(path.read_text())["method"]
    except FileNotFoundError as error:
        raise WorkspaceError(f"{path} does not exist.", why="no avatar is fitted here", fix="headavatar fit") from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise WorkspaceError(f"{path} cannot be read.", why=repr(error), fix="headavatar fit --force") from error
    avatar: Avatar = _load(get(method).avatar).load(Path(folder), device)
    return avatar


def _locations() -> dict[str, str]:
    found = {entry.name: entry.value for entry in importlib.metadata.entry_points(group=GROUP)}
    return {**found, **OURS}


def _load(location: str) -> Any:
    module, _, attribute = location.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
