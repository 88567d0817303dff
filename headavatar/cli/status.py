"""`headavatar status`: which stages are current, stale or missing, and why."""

from __future__ import annotations

from dataclasses import replace

import typer

from headavatar.cli.options import Json, Verbose, WorkspaceOption, verb


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "status", "Inspect")
    def status(workspace: WorkspaceOption = None, json: Json = False, verbose: Verbose = False) -> None:
        """Say what is done, what is stale or missing, and why."""
        from headavatar import pipeline
        from headavatar.cli import summary
        from headavatar.cli.console import say, say_json, table, tell
        from headavatar.cli.reporter import duration
        from headavatar.workspace import Workspace
        from headavatar.workspace.discovery import find_workspace
        from headavatar.workspace.lock import holder

        opened = Workspace.open(find_workspace(workspace))
        rows = pipeline.inspect(opened)
        held = holder(opened)
        if held:
            rows = [replace(row, state="running", why="") if row.state == "interrupted" else row for row in rows]
        if json:
            say_json(
                {
                    "workspace": str(opened.root),
                    "id": opened.info.get("id"),
                    "schema": opened.info["schema"],
                    "in_use": held or None,
                    "stages": [row.as_json() for row in rows],
                }
            )
            return
        say(str(opened.root))
        cells = []
        for row in rows:
            took = duration(row.record.seconds) if row.record else ""
            said = row.why or (summary.figures(row.record) if row.record else "")
            cells.append([row.key, row.state, took, said])
        say(table(cells, ["stage", "state", "time", ""]))
        if held:
            tell(f"in use: {held}")
