"""The program's entry: the verbs in the order in which a video walks through them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from headavatar import __version__
from headavatar.cli import (
    completion,
    demo,
    doctor,
    eval,
    export,
    fit,
    importing,
    methods,
    models,
    preprocess,
    reenact,
    render,
    report,
    run,
    status,
    track,
)
from headavatar.cli.completion import COMPLETE_VARIABLE, PROGRAM

app = typer.Typer(
    name=PROGRAM,
    help="From a portrait video to a head that can be posed, driven, rendered and exported.",
    epilog="Three commands: headavatar preprocess VIDEO, headavatar fit, headavatar reenact SRC TGT.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        print(f"headavatar {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


for _verb in (preprocess, track, importing, fit, render, reenact, export, run, status, report, eval, doctor):
    _verb.register(app)
app.add_typer(models.app, name="models", rich_help_panel="Setup")
for _verb in (methods, completion, demo):
    _verb.register(app)


def main() -> None:
    """Run the command line, or complete it where the shell asks."""
    if COMPLETE_VARIABLE in os.environ:
        from typer.completion import completion_init

        completion_init()
    app(prog_name=PROGRAM)
