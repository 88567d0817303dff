"""`headavatar render`: avatar + motion + camera → pictures and video."""

from __future__ import annotations

from typing import Annotated

import typer

from headavatar.cli.options import AvatarOption, Common, stage_verb

Mode = Annotated[
    str | None,
    typer.Option("--mode", help="Beside the real frames, around it, every expression.", metavar="self|orbit|sweep|all"),
]
PictureSize = Annotated[int | None, typer.Option("--size", help="Side of a picture, pixels; the clip's by default.")]
Background = Annotated[
    str | None, typer.Option("--background", help="Color behind the head.", metavar="white|black|gray|green")
]
Expression = Annotated[
    str | None, typer.Option("--expression", help="A still picture as well.", metavar="jawOpen=0.6,...")
]
Frames = Annotated[str | None, typer.Option("--frames", help="Part of the clip, in usable frames.", metavar="A:B")]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "render")
    def render(
        common: Common,
        avatar: AvatarOption = None,
        mode: Mode = None,
        frames: Frames = None,
        size: PictureSize = None,
        background: Background = None,
        expression: Expression = None,
    ) -> None:
        """Render the avatar beside the real frames, from around, and expression by expression."""
        from headavatar.cli import session

        given = {
            "avatar": avatar, "mode": mode, "frames": frames, "size": size, "background": background,
            "expression": expression,
        }  # fmt: skip
        wanted = session.requests(common, {"render": given})
        session.bring_up(session.open_workspace(common), common, wanted, next_command="eval")
