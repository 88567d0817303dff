"""The log of one run of a stage: everything that was said, with -v's detail, in `logs/<stage>.log`."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

from headavatar.progress import Reporter, Task

_EVERY_S = 5.0


class RunLog:
    """Hands everything on to another reporter and keeps a copy in a file.

    Args:
        path: the log; what an earlier run wrote there is replaced, unless this run resumes it.
        reporter: who else listens.
        append: keep what is there.
    """

    def __init__(self, path: Path, reporter: Reporter, *, append: bool = False) -> None:
        self.path = path
        self.reporter = reporter
        self._begun = time.monotonic()
        self._file: TextIOWrapper | None = None
        with suppress(OSError):  # a full disk must not hide the stage's own error
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a" if append else "w", encoding="utf-8")

    @contextmanager
    def task(self, description: str, total: int | None = None, done: int = 0) -> Iterator[Task]:
        self._write(f"{description}: begins, {done} of {total if total is not None else '?'} done")
        with self.reporter.task(description, total, done) as task:
            logged = _LoggedTask(self, task, description, total, done)
            yield logged
        self._write(f"{description}: ends at {logged.done}")

    def info(self, message: str) -> None:
        self._write(message)
        self.reporter.info(message)

    def detail(self, message: str) -> None:
        self._write(message)
        self.reporter.detail(message)

    def warn(self, message: str) -> None:
        self._write(f"warning: {message}")
        self.reporter.warn(message)

    def row(self, table: str, values: Mapping[str, float | int | str]) -> None:
        self._write(f"{table}: " + "  ".join(f"{name}={_short(value)}" for name, value in values.items()))
        self.reporter.row(table, values)

    def failure(self, error: BaseException) -> None:
        """Note an error with its traceback."""
        self._write("".join(traceback.format_exception(error)).rstrip())

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _write(self, text: str) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.write(f"{time.monotonic() - self._begun:8.1f} s  {text}\n")
                self._file.flush()


class _LoggedTask:
    def __init__(self, log: RunLog, task: Task, description: str, total: int | None, done: int) -> None:
        self._log, self._task, self._description, self._total, self.done = log, task, description, total, done
        self._last = time.monotonic()

    def advance(self, steps: int = 1, **figures: float | str) -> None:
        self.done += steps
        self._task.advance(steps, **figures)
        if time.monotonic() - self._last > _EVERY_S:
            self._last = time.monotonic()
            shown = "  ".join(f"{name}={_short(value)}" for name, value in figures.items())
            self._log._write(f"{self._description}: {self.done} of {self._total or '?'}  {shown}".rstrip())

    def describe(self, text: str) -> None:
        self._task.describe(text)


def _short(value: float | int | str) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
