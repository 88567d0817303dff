"""The options that every stage verb takes, declared once, and what happens around a verb: errors and interruptions."""

from __future__ import annotations

import functools
import inspect
import signal
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from headavatar.cli.console import report_error
from headavatar.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more; show tracebacks.")]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace", "-w", help="The workspace; else $HEADAVATAR_WORKSPACE, this folder, or the only one in it."
    ),
]
AvatarOption = Annotated[str | None, typer.Option("--avatar", help="Name of the avatar; the only one, or the newest.")]


@dataclass(frozen=True)
class Common:
    """What every stage verb can be told."""

    workspace: WorkspaceOption = None
    preset: Annotated[
        str | None, typer.Option("--preset", help="fast, balanced or quality; `fit` also paper.", metavar="NAME")
    ] = None
    set: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change any setting of config.toml; may be repeated.", metavar="[STAGE.]KEY=VALUE"),
    ] = None
    device: Annotated[str, typer.Option("--device", help="Where to compute.", metavar="auto|cpu|cuda")] = "auto"
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of every random choice.")] = None
    force: Annotated[bool, typer.Option("--force", help="Run it again from the start, current or not.")] = False
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on where an interrupted run stopped.")] = True
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and why.")] = False
    no_deps: Annotated[bool, typer.Option("--no-deps", help="Run only this, not what it needs.")] = False
    strict: Annotated[bool, typer.Option("--strict", help="Exit 7 where the result is below the gate.")] = False
    json: Json = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result and errors only.")] = False
    verbose: Verbose = False

    def check(self) -> None:
        """Refuse what typer cannot: a device that does not exist."""
        if self.device not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"There is no device {self.device!r}.", why="Known: auto, cpu, cuda.", fix="Leave it out to choose."
            )


def verb(app: typer.Typer, name: str, panel: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a verb; its errors become a message and an exit code.

    Args:
        app: where.
        name: the word on the command line.
        panel: the heading under which `--help` lists it.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        app.command(name, rich_help_panel=panel)(guarded(function))
        return function

    return register


def stage_verb(app: typer.Typer, name: str, panel: str = "Pipeline") -> Callable[..., Callable[..., Any]]:
    """Register a verb whose function takes `common: Common` first; its options come after the verb's own."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = typing.get_type_hints(function, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in list(inspect.signature(function).parameters.values())[1:]
        ]
        common_hints = typing.get_type_hints(Common, include_extras=True)
        shared = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=common_hints[field.name]
            )
            for field in fields(Common)
        ]

        @functools.wraps(function)
        def call(**values: Any) -> None:
            common = Common(**{field.name: values.pop(field.name) for field in fields(Common)})
            common.check()
            function(common, **values)

        shown: Any = guarded(call)
        shown.__signature__ = inspect.Signature([*own, *shared])
        shown.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
        app.command(name, rich_help_panel=panel)(shown)
        return function

    return register


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn whatever a verb raises into a message on stderr and an exit code; SIGTERM counts as an interruption."""

    @functools.wraps(function)
    def call(*args: Any, **values: Any) -> None:
        def stop(number: int, frame: Any) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, stop)
        try:
            function(*args, **values)
        except typer.Exit:
            raise
        except BrokenPipeError:
            raise typer.Exit(0) from None
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(report_error(error, bool(values.get("verbose")))) from None

    return call


def video_path(text: str) -> str:
    """A path on the command line, absolute, so that the workspace can be used from anywhere."""
    return str(Path(text).expanduser().absolute())
