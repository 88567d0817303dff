"""Where words go: the result to stdout, everything else to stderr; and how an error looks."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from headavatar.errors import EXIT_INTERRUPTED, HeadAvatarError

_words: TextIO | None = None


def words() -> TextIO:
    """The stream for what is not the result."""
    return _words or sys.stderr


def say(text: str) -> None:
    """A line of the result."""
    print(text, file=sys.stdout, flush=True)


def say_json(value: Any) -> None:
    """The result for scripts."""
    from headavatar.workspace.atomic import json_text

    say(json_text(value).rstrip())


def tell(text: str) -> None:
    """A line for people."""
    print(text, file=words(), flush=True)


def table(rows: list[list[str]], header: list[str]) -> str:
    """Columns of text, as wide as they need to be; the last one may run on."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def report_error(error: BaseException, verbose: bool) -> int:
    """Print an error as what, why, fix and log, without a traceback unless asked for.

    Args:
        error: a `HeadAvatarError`, an interruption, or a bug.
        verbose: show the traceback too.
    Returns:
        the exit code.
    """
    notes = getattr(error, "__notes__", [])
    if verbose and not isinstance(error, KeyboardInterrupt):
        tell("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, KeyboardInterrupt):
        tell("\ninterrupted; the same command resumes where it stopped")
        return EXIT_INTERRUPTED
    if isinstance(error, HeadAvatarError):
        lines = str(error).splitlines()
        code = error.exit_code
    else:
        first = str(error).splitlines()[0] if str(error) else "no message"
        lines = [f"{type(error).__name__}: {first}", "why: This is a bug in headavatar."]
        lines.append("fix: Run it again with -v for the traceback, and report that with the log.")
        code = 1
    tell("\n".join([f"error: {lines[0]}", *(f"  {line}" for line in [*lines[1:], *notes])]))
    return code


@contextlib.contextmanager
def libraries_write_to(log: Path) -> Iterator[None]:
    """Send what native libraries print on stderr to a file, while our own words still reach the terminal.

    mediapipe, TensorFlow Lite and ffmpeg print notes that nobody asked for, straight to file descriptor 2.
    """
    global _words
    try:
        sys.stderr.flush()
        keep = os.dup(2)
        log.parent.mkdir(parents=True, exist_ok=True)
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except (OSError, ValueError):  # no stderr, or a folder that cannot be written: the run itself will say so
        yield
        return
    if _stderr_is_descriptor_2():
        _words = os.fdopen(os.dup(keep), "w", encoding="utf-8", errors="replace")
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(keep, 2)
        os.close(keep)
        os.close(sink)
        if _words is not None:
            _words.close()
            _words = None


def _stderr_is_descriptor_2() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):
        return False
