"""Which workspace is meant, found like git finds its repository."""

from __future__ import annotations

import os
from pathlib import Path

from headavatar.errors import WorkspaceError
from headavatar.workspace import layout

VARIABLE = "HEADAVATAR_WORKSPACE"


def find_workspace(named: str | Path | None = None, cwd: Path | None = None) -> Path:
    """The folder of the workspace that is meant.

    In this order: the one named, `$HEADAVATAR_WORKSPACE`, the current folder or a parent that is one, the only
    `*.avatar/` in the current folder.

    Args:
        named: a folder, or its name without `.avatar`.
        cwd: where to look; the current folder by default.
    Raises:
        WorkspaceError: none is found, or several are and none was named.
    """
    cwd = cwd or Path.cwd()
    if named is not None:
        return _named(Path(named), cwd)
    if variable := os.environ.get(VARIABLE):
        return _named(Path(variable), cwd)
    for folder in (cwd, *cwd.parents):
        if (folder / layout.INFO).is_file():
            return folder
    candidates = sorted(path.parent for path in cwd.glob(f"*{layout.SUFFIX}/{layout.INFO}"))
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        names = ", ".join(path.name for path in candidates)
        raise WorkspaceError(
            "Which workspace is meant?", why=f"Several are here: {names}", fix=f"Name one: -w {candidates[0].name}"
        )
    raise WorkspaceError(
        f"There is no workspace in {cwd}.",
        why=f"Neither it nor a folder above it is one, and it holds no *{layout.SUFFIX}/.",
        fix="Make one with `headavatar preprocess VIDEO`, or name one with -w.",
    )


def resolve_name(name: str | Path, cwd: Path | None = None) -> Path | None:
    """The workspace that a word on the command line means, or None where it means none.

    Args:
        name: a folder, or its name without `.avatar`.
        cwd: what a relative path starts from.
    """
    path = (cwd or Path.cwd()) / name
    for candidate in (path, path.with_name(path.name + layout.SUFFIX)):
        if (candidate / layout.INFO).is_file():
            return candidate
    return None


def _named(path: Path, cwd: Path) -> Path:
    found = resolve_name(path, cwd)
    if found is None:
        raise WorkspaceError(
            f"{path} is not a workspace.",
            why=f"It has no {layout.INFO}." if (cwd / path).is_dir() else "There is no such folder.",
            fix=f"Make it with `headavatar preprocess VIDEO --out {path}`, or name another with -w.",
        )
    return found
