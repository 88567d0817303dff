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
        metavar="glb|mp4|obj|ply|nerfblendshape|vhap|insta|imavatar",
    ),
]
Mesh = Annotated[
    str | None,
    typer.Option(
        "--mesh", help="Surface of obj and ply: the avatar's own, or the tracked head's.", metavar="auto|avatar|head"
    ),
]
MeshExpression = Annotated[
    str | None, typer.Option("--expression", help="Face of obj and ply.", metavar="jawOpen=0.6,...")
]
AllExpressions = Annotated[
    bool | None, typer.Option("--all-expressions/--one-expression", help="A mesh for every expression too.")
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
        mesh: Mesh = None,
        expression: MeshExpression = None,
        all_expressions: AllExpressions = None,
    ) -> None:
        """Write GLB for Blender, Unity and three.js, MP4, OBJ, PLY, or another project's dataset folder."""
        from headavatar.cli import session

        given = {
            "format": format, "avatar": avatar, "frames": frames, "size": size, "background": background, "mesh": mesh,
            "expression": expression, "all_expressions": all_expressions,
        }  # fmt: skip
        wanted = session.requests(common, {"export": given})
        session.bring_up(session.open_workspace(common), common, wanted, next_command="report")
