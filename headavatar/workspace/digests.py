"""Content digests of files outside the workspace, remembered by size and time: an unchanged video costs nothing.

A folder, or a pattern such as `folder/*_08.png`, stands for all files that it means.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from headavatar.dialects import pictures
from headavatar.errors import WorkspaceError
from headavatar.workspace import atomic, layout
from headavatar.workspace.records import file_digest
from headavatar.workspace.store import Workspace

_CACHE = f"{layout.STATE}/_digests.json"


def input_digest(workspace: Workspace, path: Path) -> str:
    """sha256 of what a path holds, from the workspace's memory where sizes and modification times are unchanged.

    Raises:
        FileNotFoundError: it is gone.
    """
    stats = [file.stat() for file in _files(path)]
    stamp = [sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)]
    stamp += [len(stats)] if len(stats) > 1 else []
    try:
        memory = json.loads(workspace.path(_CACHE).read_text(encoding="utf-8"))
        if memory[str(path)]["stamp"] == stamp:
            return str(memory[str(path)]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        memory = {}
    digest = content_digest(path)
    entry = {str(path): {"stamp": stamp, "sha256": digest}}
    with suppress(WorkspaceError):  # a read-only workspace can still be looked at; the memory is a convenience
        atomic.write_json(workspace.path(_CACHE), {**memory, **entry}, workspace.path(layout.TMP))
    return digest


def content_digest(path: Path) -> str:
    """sha256 of a file's content, or over the names and contents of a folder's files.

    Raises:
        FileNotFoundError: there is none.
    """
    if path.is_file():
        return file_digest(path)
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(f"{file.name} {file_digest(file)}\n".encode())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    folder, names = pictures.pattern(path)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file())
    elif folder != path:
        found = sorted(file for file in folder.glob(names) if file.is_file())
    else:
        found = [path]
    if not found:
        raise FileNotFoundError(path)
    return found
