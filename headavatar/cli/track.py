"""`headavatar track`: frames → camera, head parameters, texture, and how far to trust them."""

from __future__ import annotations

import typer

from headavatar.cli.options import Common, stage_verb


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "track")
    def track(common: Common) -> None:
        """Find camera, head shape, pose and expression of every frame."""
        from headavatar.cli import session

        wanted = session.requests(common, {"track": {}})
        session.bring_up(session.open_workspace(common), common, wanted, next_command="fit")
