"""Where fetched networks live: $HEADAVATAR_CACHE, or the user's cache folder; and how a file comes to be there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from headavatar.errors import EnvironmentFault, ModelError
from headavatar.pretrained.catalog import Added, Entry


def folder() -> Path:
    """The folder of fetched networks; it need not exist yet."""
    named = os.environ.get("HEADAVATAR_CACHE")
    return (Path(named).expanduser() if named else user_cache_path("headavatar")) / "models"


def location(entry: Entry | Added) -> Path:
    """Where the entry's file lies, or would lie, in the cache."""
    return folder() / entry.filename


def head_model(name: str) -> Path:
    """Where a head model that the user added lies, or would lie, in the cache."""
    return folder() / "heads" / f"{name}.npz"


def added_head_model(name: str) -> Path:
    """The file of a head model that the user added.

    Raises:
        ModelError: there is none of that name.
    """
    path = head_model(name)
    if path.name != f"{name}.npz" or not path.exists():
        raise ModelError(
            f"there is no head model {name!r}",
            why=f"it comes with headavatar only if it is called embedded, and {path} does not exist",
            fix=f"headavatar models add flame generic_model.pkl{'' if name == 'flame' else f' --name {name}'}, "
            "or track with --set track.head=embedded",
        )
    return path


def head_models() -> list[str]:
    """Names of the head models that the user added, sorted."""
    return sorted(path.stem for path in head_model("any").parent.glob("*.npz"))


@contextmanager
def staging() -> Iterator[Path]:
    """A temporary folder on the cache's file system, deleted afterwards.

    Raises:
        EnvironmentFault: the cache cannot be written.
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder()))
    except OSError as error:
        raise EnvironmentFault(
            f"the cache {folder()} cannot be written", why=str(error), fix="name another folder in HEADAVATAR_CACHE"
        ) from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place(file: Path, target: Path) -> Path:
    """Move a finished file from `staging` to its place in the cache, at once."""
    file.chmod(0o644)
    os.replace(file, target)
    return target
