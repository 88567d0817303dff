"""The layouts by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headavatar.errors import InputError, UsageError

if TYPE_CHECKING:
    from headavatar.dialects.recording import Imported, Recording

NAMES: dict[str, str] = {
    "vhap": "headavatar.dialects.vhap",
    "insta": "headavatar.dialects.insta",
    "imavatar": "headavatar.dialects.imavatar",
    "metrical-tracker": "headavatar.dialects.metrical_tracker",
    "nerfblendshape": "headavatar.dialects.nerfblendshape",
    "nha": "headavatar.dialects.nha",
}
"""Layout → module with its `read(folder)`, and `write(folder, recording, progress)` where it is written too."""

LEAST_FRAMES = 3


def read(name: str, folder: Path) -> Imported:
    """Read a folder.

    Args:
        name: of the layout.
        folder: its root.
    Raises:
        UsageError: there is no such layout.
        InputError: the folder is not of that layout, or damaged.
    """
    if name not in NAMES:
        raise UsageError(f"There is no layout {name!r}.", why=f"Known: {', '.join(NAMES)}.")
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", fix="Check the path.")
    found: Imported = importlib.import_module(NAMES[name]).read(folder)
    if len(found) < LEAST_FRAMES:
        raise InputError(
            f"{folder} holds only {len(found)} tracked frames.", why=f"At least {LEAST_FRAMES} are needed."
        )
    return found


def write(name: str, folder: Path, recording: Recording, progress: Callable[[], None]) -> list[str]:
    """Write a folder.

    Args:
        name: of the layout.
        folder: empty and existing.
        recording: what goes in.
        progress: called once per frame.
    Returns:
        its main files, relative to it.
    """
    files: list[str] = importlib.import_module(NAMES[name]).write(folder, recording, progress)
    return files
