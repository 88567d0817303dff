"""Where fetched networks live: $HEADAVATAR_CACHE, or the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from headavatar.pretrained.catalog import Entry


def folder() -> Path:
    """The folder of fetched networks; it need not exist yet."""
    named = os.environ.get("HEADAVATAR_CACHE")
    return (Path(named).expanduser() if named else user_cache_path("headavatar")) / "models"


def location(entry: Entry) -> Path:
    """Where the entry's file lies, or would lie, in the cache."""
    return folder() / entry.filename
