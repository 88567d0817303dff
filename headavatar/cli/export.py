"""`headavatar export`: avatar → files that other programs open."""

from __future__ import annotations

from typing import Annotated

import typer

from headavatar.cli.options import AvatarOption, Common, stage_verb
from headavatar.cli.render import Background, Frames, PictureSize

Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-F",
        help="What to write; glb by default.",
        metavar="glb|mp4|obj|nerfblendshape|vhap|insta|imavatar",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "export")
    def export(
        common: Common,
        format: Format = None,
        avatar: AvatarOption = None,
        frames: Frames = None,
        size: PictureSize = None,
        background: Background = None,
    ) -> None:
        """Write GLB for Blender, Unity and three.js, MP4, OBJ, or another project's dataset folder."""
        from headavatar.cli import session

        given = {"format": format, "avatar": avatar, "frames": frames, "size": size, "background": background}
        wanted = session.requests(common, {"export": given})
        session.bring_up(session.open_workspace(common), common, wanted, next_command="report")
