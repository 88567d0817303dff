"""`headavatar fit`: tracked frames → avatar."""

from __future__ import annotations

from typing import Annotated

import typer

from headavatar.cli.options import Common, stage_verb

Method = Annotated[str | None, typer.Option("--method", help="How the head is represented; see `headavatar methods`.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of the avatar; the method's where not given.")]
SplitOption = Annotated[
    str | None, typer.Option("--split", help="Which frames are held out.", metavar="blocks|tail|recorded")
]
WithTorso = Annotated[bool | None, typer.Option("--with-torso/--without-torso", help="Keep the shoulders.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "fit")
    def fit(
        common: Common,
        method: Method = None,
        name: Name = None,
        split: SplitOption = None,
        with_torso: WithTorso = None,
    ) -> None:
        """Fit an avatar to the tracked frames."""
        from headavatar.cli import session

        given = {"method": method, "name": name, "split": split, "with_torso": with_torso}
        wanted = session.requests(common, {"fit": given})
        session.bring_up(session.open_workspace(common), common, wanted, next_command="render")
