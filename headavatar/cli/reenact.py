"""`headavatar reenact SRC TGT`: SRC's motion on TGT's avatar."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headavatar.cli.options import AvatarOption, Common, stage_verb, video_path
from headavatar.cli.preprocess import workspace_for
from headavatar.cli.render import Background, Frames, PictureSize
from headavatar.errors import UsageError, WorkspaceError

if TYPE_CHECKING:
    from headavatar.pipeline import Request
    from headavatar.workspace import Workspace

Src = Annotated[str, typer.Argument(help="Who drives: a workspace, a video, or a motion .npz.", metavar="SRC")]
Tgt = Annotated[
    str | None, typer.Argument(help="Who is seen: a workspace; -w or this folder's by default.", metavar="TGT")
]
Transfer = Annotated[
    str | None,
    typer.Option("--transfer", help="Each from its own rest, or parameters as they are.", metavar="relative|absolute"),
]
SrcNeutral = Annotated[int | None, typer.Option("--src-neutral", help="SRC's frame at rest; found by default.")]
TgtNeutral = Annotated[int | None, typer.Option("--tgt-neutral", help="TGT's frame at rest; found by default.")]
Smooth = Annotated[float | None, typer.Option("--smooth", help="Smooth the motion, standard deviation in frames.")]
SideBySide = Annotated[
    bool | None, typer.Option("--side-by-side/--no-side-by-side", help="The driver's frames beside the avatar.")
]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "reenact")
    def reenact(
        common: Common,
        src: Src,
        tgt: Tgt = None,
        avatar: AvatarOption = None,
        transfer: Transfer = None,
        src_neutral: SrcNeutral = None,
        tgt_neutral: TgtNeutral = None,
        smooth: Smooth = None,
        side_by_side: SideBySide = None,
        frames: Frames = None,
        size: PictureSize = None,
        background: Background = None,
    ) -> None:
        """Put SRC's motion on TGT's avatar: SRC drives, TGT is seen."""
        from headavatar.cli import session
        from headavatar.cli.console import say, tell
        from headavatar.pipeline import Request

        if tgt is not None and common.workspace is not None:
            raise UsageError("TGT and -w both name who is seen.", fix="Give one of them.")
        target = session.open_workspace(dataclasses.replace(common, workspace=tgt or common.workspace))
        with _driver(src) as (driver, motion):
            name = driver.name if driver else Path(motion).stem
            (tell if common.json else say)(f"{name} drives (SRC), {target.name} is seen (TGT)")
            if driver is not None and driver.root.resolve() != target.root.resolve() and not common.no_deps:
                needed = [] if _is_workspace(src) else [Request("preprocess", {"video": video_path(src)})]
                _track(driver, common, [*needed, Request("track", preset=common.preset)])
        given = {
            "avatar": avatar, "transfer": transfer, "src_neutral": src_neutral, "tgt_neutral": tgt_neutral,
            "smooth": smooth, "side_by_side": side_by_side, "frames": frames, "size": size, "background": background,
        }  # fmt: skip
        wanted = session.requests(common, {"reenact": {"src": motion, **given}})
        session.bring_up(target, common, wanted, next_command="report")


def _track(driver: Workspace, common: Common, wanted: list[Request]) -> None:
    """Bring the driver's tracking up to date; `--force` means the reenactment, not this."""
    from headavatar.cli import session
    from headavatar.cli.console import say, tell

    if common.dry_run:
        session.print_plan(driver, common, wanted)
        return
    for outcome in session.execute(driver, dataclasses.replace(common, force=False), wanted):
        if outcome.ran:
            (tell if common.json else say)(f"{driver.name}: {session.line(outcome)}")


@contextmanager
def _driver(src: str) -> Iterator[tuple[Workspace | None, str]]:
    """Who drives: a workspace and its path, or None and the path of a motion file."""
    from headavatar.workspace import Workspace
    from headavatar.workspace.discovery import resolve_name

    path = Path(src).expanduser()
    if (found := resolve_name(path)) is not None:
        yield Workspace.open(found), str(found.absolute())
    elif path.is_dir():
        raise WorkspaceError(f"{src} is not a workspace.", why="It has no workspace.json.", fix="Name one, or a video.")
    elif path.suffix == ".npz" and path.is_file():
        yield None, video_path(src)
    else:
        with workspace_for(src, None) as workspace:
            yield workspace, str(workspace.root)


def _is_workspace(src: str) -> bool:
    from headavatar.workspace.discovery import resolve_name

    return resolve_name(Path(src).expanduser()) is not None
