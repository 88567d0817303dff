"""One run at a time per workspace; the second is told who is there.

The operating system releases the lock when its holder dies, however it dies, so a lock left behind never blocks.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from headavatar.errors import WorkspaceError
from headavatar.workspace import atomic, layout
from headavatar.workspace.store import Workspace

_HOLDER = f"{layout.STATE}/_holder.json"


@contextmanager
def locked(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace's lock during the block.

    Raises:
        WorkspaceError: another process holds it; names the process, its host, its command and when it began.
    """
    import filelock

    file = workspace.path(layout.LOCK)
    with atomic.disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(file)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise WorkspaceError(
                f"{workspace.root} is in use.", why=_who(workspace), fix="Wait for it to end, or stop it."
            ) from None
    try:
        workspace.sweep()
        atomic.write_json(
            workspace.path(_HOLDER),
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            workspace.path(layout.TMP),
        )
        yield
    finally:
        with suppress(OSError):
            workspace.path(_HOLDER).unlink(missing_ok=True)
        lock.release()


def holder(workspace: Workspace) -> str:
    """Who holds the lock, in words, or "" where nobody does."""
    import filelock

    lock = filelock.FileLock(workspace.path(layout.LOCK))
    if not workspace.path(layout.LOCK).exists():
        return ""
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return _who(workspace)
    except OSError:  # a read-only folder: nobody can be writing there
        return ""
    lock.release()
    return ""


def _who(workspace: Workspace) -> str:
    try:
        data = json.loads(workspace.path(_HOLDER).read_text(encoding="utf-8"))
        return f"Process {data['pid']} on {data['host']} has held it since {data['started']}: {data['command']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "Another process holds it, and has not said who it is."
