"""Gets the catalog's files into the cache."""

from __future__ import annotations

from pathlib import Path

from headavatar.pretrained import cache
from headavatar.pretrained.catalog import ENTRIES
from headavatar.progress import Reporter


def fetch(name: str, reporter: Reporter) -> Path:
    """The file of a catalog entry."""
    return cache.location(ENTRIES[name])
