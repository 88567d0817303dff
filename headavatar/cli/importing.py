"""`headavatar import`: what another program tracked, as a workspace; what it fitted, as an avatar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headavatar.cli.options import Common, stage_verb, video_path
from headavatar.cli.preprocess import Every, MaxFrames, Out, Size, workspace_for
from headavatar.errors import UsageError

Folder = Annotated[
    str,
    typer.Argument(
        help="What another program wrote: a folder; or nerfblendshape's weights, ID.pth.tar, for the workspace (-w) "
        "that its data set was imported into.",
        metavar="FOLDER|FILE",
        show_default=False,
    ),
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        help="Its layout.",
        metavar="vhap|insta|imavatar|metrical-tracker|nerfblendshape|nha",
        show_default=False,
    ),
]
Fps = Annotated[float | None, typer.Option("--fps", help="Frames per second, which the folder does not say; 25.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of the avatar; the file's where not given.")]
WEIGHTS = {"nerfblendshape": (".pth.tar", ".pth", ".pt", ".tar")}
"""Layout → how the names of its weights end."""


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
        name: Name = None,
    ) -> None:
        """Take camera and head poses, and all else where FLAME was added, from what another tracker wrote; or an avatar
        from the weights that another program fitted.
        """
        from headavatar.cli import session
        from headavatar.dialects import layouts
        from headavatar.pretrained import cache

        root = Path(video_path(folder))
        if root.is_file():
            import_weights(common, root, layout, name)
            return
        found = layouts.read(layout, root)
        head = "flame" if "expr" in found.native and "flame" in cache.head_models() else None
        given = {
            "max_frames": max_frames, "every": every, "size": size, "fps": fps, "masks": found.mask_source,
            "mask_colors": found.mask_colors,
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


def import_weights(common: Common, file: Path, layout: str, name: str | None) -> None:
    """Make an avatar of weights that another program fitted.

    Args:
        common: says the workspace.
        file: the weights.
        layout: whose.
        name: of the avatar.
    Raises:
        UsageError: that program's weights cannot be read, or the file is none of them.
    """
    import re

    from headavatar.cli import session

    endings = WEIGHTS.get(layout, ())
    ending = next((end for end in endings if file.name.endswith(end)), None)
    if ending is None:
        raise UsageError(
            f"{file.name} is a file, and {layout} writes folders." if not endings
            else f"{file.name} is no file of {layout}'s weights.",
            why=f"Weights are read from nerfblendshape; their names end in {', '.join(WEIGHTS['nerfblendshape'])}.",
            fix="Name the folder, or the file of weights with --from nerfblendshape.",
        )  # fmt: skip
    name = name or re.sub(r"[^A-Za-z0-9_.-]", "-", file.name.removesuffix(ending)).lstrip(".-") or layout
    workspace = session.open_workspace(common)
    about = {"name": name, "method": "nerf-blendshape", "released": layout, "weights": str(file)}
    if "held_out" in workspace.read_npz("track/params.npz"):
        about["split"] = "recorded"
    session.bring_up(workspace, common, session.requests(common, {"fit": about}), next_command="render")
