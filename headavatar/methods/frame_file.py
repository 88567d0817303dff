"""Pixels of the training frames on disk, so that a fit's memory does not grow with the clip."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from ..errors import WorkspaceError
from ..scene import Array


class FrameFile:
    """Rows of bytes, one per frame, in a nameless file that vanishes with the program; make some with `written`.

    Reading one costs a copy out of the system's cache of the file, 0.1 ms at 256²; nothing of it stays in memory.

    Args:
        file: n records, each the rows of one frame one after the other.
        start, shape: where in a record the row begins, and the shape of what it holds.
        size: bytes of a record.
        count: n.
        dtype: torch.uint8, or torch.bool for bytes that are 0 or 1.
    """

    def __init__(
        self, file: IO[bytes], start: int, shape: tuple[int, ...], size: int, count: int, dtype: torch.dtype
    ) -> None:
        self._file, self._start, self._shape, self._size = file, start, shape, size
        self._count, self._dtype = count, dtype

    @staticmethod
    def written(records: Iterable[tuple[Array, ...]], folder: Path | None) -> list[FrameFile]:
        """Write frames as they come.

        Args:
            records: for each frame the same number of uint8 or bool arrays, of the same shapes; at least one frame.
            folder: on a disk that has room; the system's folder for such files where None.
        Returns:
            one FrameFile for each array of a record.
        Raises:
            WorkspaceError: the disk is full or read-only.
        """
        kinds: list[tuple[tuple[int, ...], torch.dtype]] = []
        count = 0
        try:
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it lives as long as those who read it)
            for record in records:
                found = [(row.shape, torch.bool if row.dtype == np.bool_ else torch.uint8) for row in record]
                kinds = kinds or found
                if found != kinds or any(row.dtype not in (np.bool_, np.uint8) for row in record):
                    raise ValueError(f"frame {count} holds {found} among {kinds}")
                for row in record:
                    file.write(np.ascontiguousarray(row).tobytes())
                count += 1
            file.flush()
        except OSError as error:
            raise WorkspaceError(
                "The training frames cannot be laid out for reading.",
                why=f"{folder or tempfile.gettempdir()}: {error}",
                fix="free some disk space; a frame takes five bytes a pixel",
            ) from error  # fmt: skip
        lengths = [int(np.prod(shape)) for shape, _ in kinds]
        starts = np.cumsum([0, *lengths]).tolist()
        return [
            FrameFile(file, start, shape, starts[-1], count, dtype)
            for start, (shape, dtype) in zip(starts, kinds, strict=False)
        ]

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> torch.Tensor:
        """As of a tensor (n, …): `rows[frame]`, `rows[frame, pixels]`, or `rows[frames]` with a tensor of them."""
        if isinstance(index, tuple):
            frame, pixels = index
            return self._read(int(frame))[pixels]
        if isinstance(index, torch.Tensor) and index.ndim == 1:
            return torch.stack([self._read(int(frame)) for frame in index])
        return self._read(int(index))

    def _read(self, frame: int) -> torch.Tensor:
        if not 0 <= frame < self._count:
            raise IndexError(f"frame {frame} of {self._count}")
        row = np.empty(self._shape, np.uint8)
        self._file.seek(frame * self._size + self._start)
        self._file.readinto(row.data.cast("B"))  # type: ignore[attr-defined]
        return torch.from_numpy(row).view(self._dtype)
