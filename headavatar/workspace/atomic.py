"""Write a file completely or not at all: a temporary name on the same file system, flushed to disk, then renamed.

A reader therefore never sees half a file, and a run killed between two bytes leaves the old one. A full disk, a
read-only folder and missing rights become a `WorkspaceError` that says which.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.errors import WorkspaceError
from headavatar.scene import Array

TEMPORARY = "new-"
"""Begins the name of a file that is not complete yet."""

_JPEG_QUALITY = 92
_PNG_COMPRESSION = 3  # libpng's default of 6 costs three times the time for 4 % of the size


def write_error(error: OSError, path: Path) -> WorkspaceError:
    """The error that a person should read when writing failed.

    Args:
        error: what the operating system said.
        path: the file or folder that was to be written.
    """
    what = f"{path} could not be written."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorkspaceError(
            what,
            why="The disk is full.",
            fix="Free some space and run the same command again: it resumes where it stopped.",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return WorkspaceError(
            what,
            why="The folder is read-only for you.",
            fix="Make it writable, or copy the workspace elsewhere and name the copy with -w.",
        )
    return WorkspaceError(what, why=error.strerror or str(error), fix="Check the disk and the path.")


DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's write errors inside the block into `WorkspaceError`."""
    try:
        yield
    except OSError as error:
        raise write_error(error, path) from error


@contextmanager
def replace_file(path: Path, staging: Path | None = None, *, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path with the same suffix, renamed to `path` when the block ends well.

    Args:
        path: the file to be.
        staging: folder for the temporary file, on the same file system; the file's own folder by default.
        sync: flush to disk before the rename; without it only a crash of the whole machine can lose the file.
    Raises:
        WorkspaceError: the disk is full, read-only or forbidden.
    """
    staging = staging or path.parent
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=path.suffix, dir=staging)
        os.close(handle)
    temporary = Path(name)
    try:
        try:
            yield temporary
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise write_error(error, path) from error
            raise
        with disk_errors(path):
            os.chmod(temporary, 0o666 & ~_umask())
            if sync:
                flush(temporary)
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replace_dir(path: Path, staging: Path | None = None) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `path` when the block ends well.

    Args:
        path: the folder to be; what it held before is deleted after the new one is in place.
        staging: where the temporary folder is made, on the same file system; beside `path` by default.
    """
    staging = staging or path.parent
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=staging))
    old = temporary.with_name(temporary.name + ".old")
    try:
        try:
            yield temporary
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise write_error(error, path) from error
            raise
        with disk_errors(path):
            os.chmod(temporary, 0o777 & ~_umask())
            for file in temporary.rglob("*"):
                if file.is_file():
                    flush(file)
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_bytes(path: Path, data: bytes, staging: Path | None = None, *, sync: bool = True) -> Path:
    """Write bytes; returns the path. See `replace_file` for the arguments and errors."""
    with replace_file(path, staging, sync=sync) as temporary:
        temporary.write_bytes(data)
    return path


def write_text(path: Path, text: str, staging: Path | None = None) -> Path:
    """Write UTF-8 text."""
    return write_bytes(path, text.encode(), staging)


def write_json(path: Path, value: Any, staging: Path | None = None) -> Path:
    """Write JSON, indented; numpy scalars and arrays become numbers and lists, NaN becomes null."""
    return write_text(path, json_text(value), staging)


def write_npz(path: Path, arrays: dict[str, Any], staging: Path | None = None) -> Path:
    """Write named arrays, compressed, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return write_bytes(path, buffer.getvalue(), staging)


def write_image(path: Path, image: Array, staging: Path | None = None, *, sync: bool = True) -> Path:
    """Write a picture in the format that the suffix names.

    Args:
        path: ends in .png or .jpg.
        image: (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) gray, uint8 (gray may be uint16 in a PNG).
        staging, sync: as in `replace_file`.
    """
    import cv2

    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    if path.suffix == ".png":
        options = [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION]
    done, data = cv2.imencode(path.suffix, np.ascontiguousarray(image), options)
    if not done:
        raise ValueError(f"no encoder for {path.suffix}")
    return write_bytes(path, data.tobytes(), staging, sync=sync)


def json_text(value: Any) -> str:
    """JSON of records and results: sorted by nothing, indented by one, strict (NaN is null)."""
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def flush(path: Path) -> None:
    """Make sure that a file's content is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return value.as_posix()
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
