"""Pictures of a whole clip outside of memory: raw bytes in a nameless file, read when a slice is asked for.

Rounds over a clip read every frame a dozen times. Decoding PNGs each time would cost more than the rounds, and holding
the pictures would make memory grow with the clip; so they are decoded once, reduced, and kept on disk as plain bytes.
They are read, not mapped, so that pages which were once touched do not count as the program's memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from headavatar.errors import WorkspaceError
from headavatar.scene import Array
from headavatar.workspace import atomic

KEPT_BYTES = 64 << 20
"""Changed pictures of a clip are kept up to this size; beyond, memory would grow with the clip."""

Index = int | slice | Array


class Frames(Protocol):
    """T pictures, indexed like a (T, H, W) or (T, H, W, C) uint8 array; an array is one too."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class FrameStore:
    """T pictures in a file that vanishes with the program; make one with `written`.

    Args:
        file: T pictures' bytes, one after the other.
        shape: of one picture.
        rows: (T,) which of the file's pictures these are.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, ...], rows: Array) -> None:
        self._file, self._shape, self._rows = file, shape, rows

    @staticmethod
    def written(pictures: Iterable[Array], folder: Path) -> FrameStore:
        """Write pictures as they come.

        Args:
            pictures: uint8, all of one shape; at least one.
            folder: on a disk that has room for them.
        Raises:
            WorkspaceError: the disk is full or read-only.
        """
        shape: tuple[int, ...] = ()
        count = 0
        with atomic.disk_errors(folder):
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it lives as long as the store)
            for picture in pictures:
                shape = shape or picture.shape
                if picture.shape != shape or picture.dtype != np.uint8:
                    raise ValueError(f"picture {count} is {picture.dtype} {picture.shape} among uint8 {shape}")
                file.write(picture.tobytes())
                count += 1
            file.flush()
        return FrameStore(file, shape, np.arange(count))

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._rows), *self._shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Index) -> Array:
        """Read pictures: one for an int, else an array of them, for a slice, positions or a mask."""
        if isinstance(index, (int, np.integer)):
            return np.asarray(self._read(self._rows[index : index + 1 or None])[0])
        return self._read(self._rows[index])

    def at(self, positions: Array) -> FrameStore:
        """Some of the pictures, (n,) positions or a (T,) mask, without reading them."""
        return FrameStore(self._file, self._shape, self._rows[positions])

    def _read(self, rows: Array) -> Array:
        pictures: Any = np.empty((len(rows), *self._shape), np.uint8)
        size = int(np.prod(self._shape))
        runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1)
        for run in runs:
            if len(run):
                # at a place of its own, since several threads read at once
                wanted = memoryview(pictures[run[0] : run[-1] + 1]).cast("B")
                if os.preadv(self._file.fileno(), [wanted], int(rows[run[0]]) * size) != wanted.nbytes:
                    raise WorkspaceError(
                        "Frames that were laid out for tracking cannot be read back whole.",
                        why="the disk gave fewer bytes than were written", fix="check the disk, then run it again",
                    )  # fmt: skip
        return np.asarray(pictures)


class Changed:
    """Pictures as they look after a change, made when they are read; those of short clips are made once and kept.

    Args:
        source: the pictures.
        change: one picture to another, all of one shape.
        shape: of one picture after the change.
    """

    def __init__(self, source: Frames, change: Callable[[Array], Array], shape: tuple[int, ...]) -> None:
        self._source, self._change, self._shape = source, change, shape
        few = len(source) * int(np.prod(shape)) <= KEPT_BYTES
        self._kept: Any = np.empty((len(source), *shape), np.uint8) if few else None
        self._made = np.zeros(len(source), bool)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._source), *self._shape)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Index) -> Array:
        rows = np.arange(len(self))[index]
        if self._kept is None:
            changed: Any = np.empty((rows.size, *self._shape), np.uint8)
            self._make(rows.reshape(-1), changed, range(rows.size))
            return np.asarray(changed if rows.ndim else changed[0])
        missing = rows[~self._made[rows]].reshape(-1)
        # two threads may make the same picture at once; both write the same
        self._make(missing, self._kept, missing)
        self._made[missing] = True
        return np.array(self._kept[index])

    def _make(self, rows: Array, into: Any, places: Iterable[int]) -> None:
        if len(rows):
            for place, picture in zip(places, self._source[rows], strict=True):
                into[place] = self._change(picture)
