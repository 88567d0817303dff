"""`headavatar import FOLDER`: what another program tracked, as a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headavatar.cli.options import Common, stage_verb, video_path
from headavatar.cli.preprocess import Every, MaxFrames, Out, Size, workspace_for

Folder = Annotated[str, typer.Argument(help="What another program wrote.", metavar="FOLDER", show_default=False)]
From = Annotated[
    str,
    typer.Option(
        "--from", help="Its layout.", metavar="vhap|insta|imavatar|metrical-tracker|nerfblendshape", show_default=False
    ),
]
Fps = Annotated[float | None, typer.Option("--fps", help="Frames per second, which the folder does not say; 25.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "import")
    def import_(
        common: Common,
        folder: Folder,
        layout: From,
        out: Out = None,
        max_frames: MaxFrames = None,
        every: Every = None,
        size: Size = None,
        fps: Fps = None,
    ) -> None:
        """Take camera and head poses, and all else where FLAME was added, from what another tracker wrote."""
        from headavatar.cli import session
        from headavatar.dialects import layouts
        from headavatar.pretrained import cache

        root = Path(video_path(folder))
        found = layouts.read(layout, root)
        head = "flame" if "expr" in found.native and "flame" in cache.head_models() else None
        given = {
            "max_frames": max_frames, "every": every, "size": size, "fps": fps, "masks": found.mask_source,
            "mask_colors": "parsing" if found.colored_masks else None,
        }  # fmt: skip
        wanted = session.requests(
            common,
            {
                "preprocess": {"video": found.picture_source, **given},
                "track": {"head": head, "imported_from": layout, "imported_folder": str(root)},
            },
        )
        place = out or common.workspace or f"{root.name}.avatar"
        with workspace_for(found.picture_source, place, force=common.force) as workspace:
            session.bring_up(workspace, common, wanted, next_command="fit")
