"""`headavatar methods`: how a head can be represented."""

from __future__ import annotations

import typer

from headavatar.cli.options import Json, Verbose, verb


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "methods", "Setup")
    def methods(json: Json = False, verbose: Verbose = False) -> None:
        """List the methods that fit takes, and what each still needs."""
        from headavatar.cli.console import say, say_json, table
        from headavatar.methods.registry import list_methods

        rows = list_methods()
        if json:
            say_json(rows)
            return
        cells = [
            [row["name"], "ready" if row["installed"] else f"needs {', '.join(row['missing'])}", row["title"]]
            for row in rows
        ]
        say(table(cells, ["method", "state", ""]))
