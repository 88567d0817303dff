"""Everything that can go wrong for a user, as one tree.

    HeadAvatarError                 1   a bug, unless a subclass says better
    ├── UsageError                  2   the command line or a setting is wrong
    ├── InputError                  3   the video or motion cannot be used
    ├── WorkspaceError              4   the folder on disk is missing, locked, corrupt, too new, full or read-only
    ├── ModelError                  5   a network, head model or licence is missing or fails its checksum
    ├── EnvironmentFault            6   a library, compiler or device is missing or broken
    ├── QualityGateError            7   --strict, and the result is below the gate
    └── OutOfMemory                 8   memory ran out after the retries

Each error says what happened, why, and how to mend it; the command line prints the three and exits with the code.
"""

from __future__ import annotations

from collections.abc import Callable


class HeadAvatarError(Exception):
    """A failure that a user should read.

    Args:
        what: one sentence, what happened.
        why: the cause, as far as it is known.
        fix: what the user can do now, ideally a command.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append(f"why: {self.why}")
        if self.fix:
            parts.append(f"fix: {self.fix}")
        return "\n".join(parts)

    # keeps why and fix when a worker process hands the error over
    def __reduce__(self) -> tuple[Callable[..., HeadAvatarError], tuple[object, ...]]:
        return (_rebuild, (type(self), self.what, self.why, self.fix))


def _rebuild(cls: type[HeadAvatarError], what: str, why: str, fix: str) -> HeadAvatarError:
    return cls(what, why=why, fix=fix)


class UsageError(HeadAvatarError):
    """The command line, a preset or a setting is wrong."""

    exit_code = 2


class InputError(HeadAvatarError):
    """The video, frames or motion given cannot be used."""

    exit_code = 3


class WorkspaceError(HeadAvatarError):
    """The workspace is missing, locked, corrupt, from a newer version, on a full disk or read-only."""

    exit_code = 4


class ModelError(HeadAvatarError):
    """A pretrained network or head model is missing, or is not the file it should be."""

    exit_code = 5


class EnvironmentFault(HeadAvatarError):
    """A library, compiler or device that is needed is missing or broken."""

    exit_code = 6


class QualityGateError(HeadAvatarError):
    """The stage finished, but below the quality that --strict asks for."""

    exit_code = 7


class OutOfMemory(HeadAvatarError):
    """Memory ran out, also after retrying smaller."""

    exit_code = 8


EXIT_INTERRUPTED = 130
