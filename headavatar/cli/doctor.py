"""`headavatar doctor`: what is present, absent, why, and the command that gets it."""

from __future__ import annotations

import typer

from headavatar.cli.options import Json, Verbose, verb


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "doctor", "Setup")
    def doctor(json: Json = False, verbose: Verbose = False) -> None:
        """Check this machine: packages, system libraries, kernels, networks, memory and disk."""
        from headavatar.cli.checks import ABSENT, BROKEN, machine, parts
        from headavatar.cli.console import say, say_json, table

        about, found = machine(), parts()
        wrong = [part for part in found if part.needed and part.state != "present"]
        if json:
            say_json({"ok": not wrong, "machine": about, "parts": [part.as_json() for part in found]})
        else:
            say(table([[name, str(value)] for name, value in about.items()], ["machine", ""]) + "\n")
            say(table([[part.name, part.state, part.detail] for part in found], ["part", "state", ""]))
            fixes = [part for part in found if part.state in (ABSENT, BROKEN) and part.fix]
            if fixes:
                say("\n" + table([[part.name, part.fix] for part in fixes], ["to get", ""]))
        if wrong:
            raise typer.Exit(6)
