"""`headavatar render`: avatar + motion + camera → pictures and video."""

from __future__ import annotations

from typing import Annotated

import typer

from headavatar.cli.options import AvatarOption, Common, stage_verb, video_path

Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        help="Beside the real frames, around it, from side to side, every expression, one picture, given cameras.",
        metavar="self|orbit|swing|sweep|still|views|all",
    ),
]
PictureSize = Annotated[int | None, typer.Option("--size", help="Side of a picture, pixels; the clip's by default.")]
Background = Annotated[
    str | None, typer.Option("--background", help="Color behind the head.", metavar="white|black|gray|green")
]
Expression = Annotated[
    str | None,
    typer.Option("--expression", help="Its face: one picture, or a turn with --mode.", metavar="jawOpen=0.6,..."),
]
Cameras = Annotated[
    str | None,
    typer.Option("--cameras", help="See it from these: ours, or transforms.json.", metavar="FILE"),
]
OrbitDegrees = Annotated[
    float | None, typer.Option("--orbit-deg", help="How far orbit and swing go to either side, degrees.")
]
Look = Annotated[
    str | None,
    typer.Option("--look", help="Drawn as fitted, or by its surface for views far off.", metavar="field|surface"),
]
Maps = Annotated[
    bool | None, typer.Option("--maps/--no-maps", help="Depth and normals too: video, 16-bit PNG, NPZ in metres.")
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
        cameras: Cameras = None,
        orbit_deg: OrbitDegrees = None,
        look: Look = None,
        maps: Maps = None,
    ) -> None:
        """Render the avatar beside the real frames, from around, from any camera, and with any expression."""
        from headavatar.cli import session

        named = {text.partition("=")[0].strip() for text in common.set or ()}
        if mode is None and not named & {"mode", "render.mode"}:
            mode = "views" if cameras else "still" if expression else None  # all that a person asked for
        given = {
            "avatar": avatar, "mode": mode, "frames": frames, "size": size, "background": background,
            "expression": expression, "cameras": video_path(cameras) if cameras else None, "orbit_deg": orbit_deg,
            "look": look, "maps": maps,
        }  # fmt: skip
        wanted = session.requests(common, {"render": given})
        session.bring_up(session.open_workspace(common), common, wanted, next_command="eval")
