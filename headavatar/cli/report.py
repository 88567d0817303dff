"""`headavatar report`: everything there is to see, in one HTML file."""

from __future__ import annotations

import typer

from headavatar.cli.options import Common, stage_verb


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "report", "Inspect")
    def report(common: Common) -> None:
        """Show contact sheet, overlay, curves and holdout in one HTML file that opens without a server."""
        from headavatar.cli import session

        session.bring_up(session.open_workspace(common), common, session.requests(common, {"report": {}}))
