"""Content digests of files outside the workspace, remembered by size and time: an unchanged video costs nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from headavatar.errors import WorkspaceError
from headavatar.workspace import atomic, layout
from headavatar.workspace.records import file_digest
from headavatar.workspace.store import Workspace

_CACHE = f"{layout.STATE}/_digests.json"


def input_digest(workspace: Workspace, path: Path) -> str:
    """sha256 of a file's content, from the workspace's memory where size and modification time are unchanged.

    Raises:
        FileNotFoundError: the file is gone.
    """
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    try:
        memory = json.loads(workspace.path(_CACHE).read_text(encoding="utf-8"))
        if memory[str(path)]["stamp"] == stamp:
            return str(memory[str(path)]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        memory = {}
    digest = file_digest(path)
    entry = {str(path): {"stamp": stamp, "sha256": digest}}
    with suppress(WorkspaceError):  # a read-only workspace can still be looked at; the memory is a convenience
        atomic.write_json(workspace.path(_CACHE), {**memory, **entry}, workspace.path(layout.TMP))
    return digest
