"""Gets the catalog's files into the cache, each checked by size and sha256, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from headavatar.errors import ModelError
from headavatar.pretrained import cache, sources
from headavatar.pretrained.catalog import ENTRIES, Entry
from headavatar.progress import Reporter, SilentReporter


def fetch(name: str, reporter: Reporter | None = None) -> Path:
    """The file of a catalog entry, fetched if it is not in the cache yet.

    Args:
        name: a name of the catalog.
        reporter: told of progress.
    Returns:
        the verified file in the cache.
    Raises:
        ModelError: no source gives it, or the file in the cache is not the one that it should be.
    """
    entry = _entry(name)
    reporter = reporter or SilentReporter()
    if cache.location(entry).exists():
        return path(name)
    failures: list[str] = []
    with cache.staging() as folder:
        for i, source in enumerate(entry.sources):
            room = folder / str(i)
            room.mkdir()
            try:
                with reporter.task(f"fetching {name} ({entry.bytes / 1e6:.1f} MB)", entry.bytes) as task:
                    file = sources.download(source, entry.bytes, room, task.advance)
            except sources.SourceFailed as failure:
                failures.append(f"{sources.describe(source)}: {failure}")
                reporter.detail(f"{name} not from {failures[-1]}")
                continue
            found = cache.digest(file)
            if found == entry.sha256:
                reporter.detail(f"{name} from {sources.describe(source)}")
                return cache.place(file, cache.location(entry))
            failures.append(f"{sources.describe(source)}: its sha256 is {found} instead of {entry.sha256}")
            reporter.warn(f"{name} not from {failures[-1]}")
    raise ModelError(
        f"{entry.filename} ({entry.task}) could not be fetched", why="\n  ".join(["", *failures]), fix=_ways(entry)
    )


def path(name: str) -> Path:
    """The file of a catalog entry that is in the cache already.

    Raises:
        ModelError: it is not there, or is not the file that it should be.
    """
    entry = _entry(name)
    file = cache.location(entry)
    if not file.exists():
        raise ModelError(
            f"{entry.filename} ({entry.task}) is missing", why="it has not been fetched yet",
            fix=f"headavatar models fetch {name}",
        )  # fmt: skip
    found = cache.digest(file)
    if found != entry.sha256:
        raise ModelError(
            f"{file} is not the network that it should be",
            why=f"its sha256 is {found}, and {entry.sha256} is expected",
            fix=f"delete it, then headavatar models fetch {name}",
        )
    return file


def add_from_file(name: str, file: Path) -> Path:
    """Put a file that the user has into the cache.

    Args:
        name: a name of the catalog.
        file: the file; it is copied.
    Returns:
        the verified copy in the cache.
    Raises:
        ModelError: it cannot be read, or is not the file that it should be.
    """
    entry = _entry(name)
    try:
        found = cache.digest(file)
        if found == entry.sha256:
            with cache.staging() as folder:
                shutil.copyfile(file, folder / "file")
                return cache.place(folder / "file", cache.location(entry))
    except OSError as error:
        raise ModelError(f"{file} could not be read", why=error.strerror or str(error), fix=_ways(entry)) from error
    raise ModelError(
        f"{file} is not the file that {name} needs",
        why=f"its sha256 is {found}, and {entry.sha256} is expected",
        fix=_ways(entry),
    )


def _entry(name: str) -> Entry:
    if name not in ENTRIES:
        raise ModelError(
            f"there is no network {name} in the catalog", why=f"it has {', '.join(ENTRIES)}",
            fix="headavatar models list",
        )  # fmt: skip
    return ENTRIES[name]


def _ways(entry: Entry) -> str:
    """Every way to get a file, one a line."""
    ways = "\n  ".join(sources.describe(source) for source in entry.sources)
    return (
        f"on a machine that can reach one of these, get the file with sha256 {entry.sha256}:\n  {ways}\n"
        f"then: headavatar models fetch {entry.name} --from FILE"
    )
