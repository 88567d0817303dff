"""How long work tells the outside what it does, without knowing who listens.

Stages, methods and solvers take a `RunContext` and speak to its `Reporter`; the command line hands in one that draws
progress bars, tests hand in `SilentReporter`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol


class Task(Protocol):
    """One piece of work with a known number of steps."""

    def advance(self, steps: int = 1, **figures: float | str) -> None:
        """Count steps done; `figures` (loss, psnr, …) are shown beside the bar."""

    def describe(self, text: str) -> None:
        """Replace the task's one-line description."""


class Reporter(Protocol):
    """Receives what a stage has to say while it runs."""

    def task(self, description: str, total: int | None = None, done: int = 0) -> AbstractContextManager[Task]:
        """Open a task: `with reporter.task("landmarks", 600) as t: t.advance()`."""

    def info(self, message: str) -> None:
        """A line that people want to read."""

    def detail(self, message: str) -> None:
        """A line for -v and the log file."""

    def warn(self, message: str) -> None:
        """Something is off, and the run goes on."""

    def row(self, table: str, values: Mapping[str, float | int | str]) -> None:
        """One row of a live table, such as loss and holdout PSNR of a fit."""


class _SilentTask:
    def advance(self, steps: int = 1, **figures: float | str) -> None: ...
    def describe(self, text: str) -> None: ...


class SilentReporter:
    """Says nothing."""

    @contextmanager
    def task(self, description: str, total: int | None = None, done: int = 0) -> Iterator[Task]:
        yield _SilentTask()

    def info(self, message: str) -> None: ...
    def detail(self, message: str) -> None: ...
    def warn(self, message: str) -> None: ...
    def row(self, table: str, values: Mapping[str, float | int | str]) -> None: ...


@dataclass(frozen=True)
class RunContext:
    """What a run is told besides its settings.

    Attributes:
        reporter: receives progress.
        device: "cpu" or "cuda", already resolved from "auto".
        seed: seed of every random choice of the run.
        resume: continue from partial work where the stage kept some.
    """

    reporter: Reporter = field(default_factory=SilentReporter)
    device: str = "cpu"
    seed: int = 0
    resume: bool = True
