"""Progress for people: bars with rate and time left on a terminal, plain lines every few seconds off it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from headavatar.progress import Reporter, SilentReporter, Task

_EVERY_S = 5.0
_COLUMN = 12


class PlainReporter:
    """Lines of text; a task says where it is every few seconds.

    Args:
        stream: where to write.
        verbose: show details too.
    """

    def __init__(self, stream: TextIO, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._columns: dict[str, tuple[str, ...]] = {}
        self._spoke = 0.0

    @contextmanager
    def task(self, description: str, total: int | None = None, done: int = 0) -> Iterator[Task]:
        yield _PlainTask(self, description, total, done)

    def info(self, message: str) -> None:
        self._line(message)

    def detail(self, message: str) -> None:
        if self._verbose:
            self._line(message)

    def warn(self, message: str) -> None:
        self._line(f"warning: {message}")

    def row(self, table: str, values: Mapping[str, float | int | str]) -> None:
        names = tuple(values)
        if self._columns.get(table) != names:
            self._columns[table] = names
            self._line("".join(name.rjust(max(_COLUMN, len(name) + 2)) for name in names))
        self._line("".join(_short(value).rjust(max(_COLUMN, len(name) + 2)) for name, value in values.items()))

    def _line(self, text: str) -> None:
        self._spoke = time.monotonic()
        print(text, file=self._stream, flush=True)


class _PlainTask:
    def __init__(self, reporter: PlainReporter, description: str, total: int | None, done: int) -> None:
        self._reporter, self._description, self._total = reporter, description, total
        self._done = self._first = done
        self._begun = time.monotonic()
        reporter._spoke = max(reporter._spoke, self._begun)

    def advance(self, steps: int = 1, **figures: float | str) -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._reporter._spoke >= _EVERY_S:  # a table's row says as much
            rate = (self._done - self._first) / (now - self._begun)
            parts = [f"  {self._description}: {self._done}" + (f" of {self._total}" if self._total else "")]
            parts.append(f"{rate:.3g}/s")
            if self._total and rate > 0:
                parts.append(f"{duration((self._total - self._done) / rate)} left")
            parts += [f"{name} {_short(value)}" for name, value in figures.items()]
            self._reporter._line(", ".join(parts))

    def describe(self, text: str) -> None:
        self._description = text


class RichReporter(PlainReporter):
    """Bars on a terminal, with everything else printed above them."""

    def __init__(self, stream: TextIO, verbose: bool = False) -> None:
        super().__init__(stream, verbose)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), TextColumn("{task.fields[figures]}"),
            console=self._console, transient=True,
        )  # fmt: skip
        self._open = 0

    @contextmanager
    def task(self, description: str, total: int | None = None, done: int = 0) -> Iterator[Task]:
        if self._open == 0:
            self._progress.start()
        self._open += 1
        bar = self._progress.add_task(description, total=total, completed=done, rate="", figures="")
        try:
            yield _Bar(self._progress, bar)
        finally:
            self._progress.remove_task(bar)
            self._open -= 1
            if self._open == 0:
                self._progress.stop()

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False)


class _Bar:
    def __init__(self, progress: Any, bar: Any) -> None:
        self._progress, self._bar = progress, bar
        self._begun = time.monotonic()
        self._steps = 0

    def advance(self, steps: int = 1, **figures: float | str) -> None:
        self._steps += steps
        rate = self._steps / max(time.monotonic() - self._begun, 1e-6)
        shown = "  ".join(f"{name} {_short(value)}" for name, value in figures.items())
        self._progress.update(self._bar, advance=steps, rate=f"{rate:.3g}/s", **({"figures": shown} if shown else {}))

    def describe(self, text: str) -> None:
        self._progress.update(self._bar, description=text)


def make_reporter(stream: TextIO, quiet: bool, verbose: bool) -> Reporter:
    """The reporter that suits the stream."""
    if quiet:
        return SilentReporter()
    if stream.isatty():
        return RichReporter(stream, verbose)
    return PlainReporter(stream, verbose)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _short(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
