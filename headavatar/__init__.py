"""headavatar: from a portrait video to a head that can be posed, driven, rendered and exported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from headavatar.api import OpenWorkspace

# Both are read once, when torch and scipy load. Threads that spin while they wait turn two milliseconds into ten on a
# busy machine; tracking's banded solves are too small to share: two threads take 1.6 times as long as one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"


def open(workspace: str | Path | None = None, *, device: str = "auto") -> OpenWorkspace:
    """Open a workspace, to draw its avatars from Python.

    Args:
        workspace: its folder, or that name without `.avatar`; found as the command line finds it where not given.
        device: where to draw, "auto", "cpu" or "cuda".
    Raises:
        WorkspaceError: there is none, or it is damaged or of a newer version.
        UsageError: there is no such device.

    Example:
        >>> import headavatar
        >>> picture = headavatar.open("anna.avatar").avatar("nha").render(expression={"jawOpen": 0.5})
        >>> picture.rgb.shape
        (256, 256, 3)
    """
    from headavatar.api import open_workspace  # torch and all that takes seconds

    return open_workspace(workspace, device)
