"""`headavatar preprocess VIDEO`: video or pictures → frames, landmarks, mattes, parsing, normals, a verdict on each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headavatar.cli.options import Common, stage_verb, video_path
from headavatar.errors import InputError, WorkspaceError

if TYPE_CHECKING:
    from headavatar.workspace import Workspace

Video = Annotated[
    str,
    typer.Argument(help="Any video that ffmpeg reads, or a folder of pictures.", metavar="VIDEO", show_default=False),
]
Out = Annotated[str | None, typer.Option("--out", help="The workspace to make; VIDEO's name.avatar where not given.")]
Start = Annotated[float | None, typer.Option("--start", help="Seconds of the video to skip.")]
MaxFrames = Annotated[int | None, typer.Option("--max-frames", help="Stop after this many frames.")]
Every = Annotated[int | None, typer.Option("--every", help="Take every K-th frame.", metavar="K")]
Size = Annotated[int | None, typer.Option("--size", help="Side of the square crop, pixels.", metavar="256|512")]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "preprocess")
    def preprocess(
        common: Common,
        video: Video,
        out: Out = None,
        start: Start = None,
        max_frames: MaxFrames = None,
        every: Every = None,
        size: Size = None,
    ) -> None:
        """Turn a video into frames, landmarks, mattes, parsing and normals."""
        from headavatar.cli import session

        given = {"start": start, "max_frames": max_frames, "every": every, "size": size}
        wanted = session.requests(common, {"preprocess": {"video": video_path(video), **given}})
        with workspace_for(video, out or common.workspace, force=common.force) as workspace:
            session.bring_up(workspace, common, wanted, next_command="track")


@contextmanager
def workspace_for(video: str, out: str | None, *, force: bool = False) -> Iterator[Workspace]:
    """The workspace of a video: the one that is there, or a new one, gone again where the video cannot be used.

    Args:
        video: as typed.
        out: its folder, as typed; the video's name with .avatar, in the current folder, by default.
        force: let the video replace another one's.
    Raises:
        InputError: there is no such video.
        WorkspaceError: the workspace was made from another video.
    """
    from headavatar.dialects import pictures
    from headavatar.workspace import Workspace, layout, records
    from headavatar.workspace.digests import input_digest

    path = Path(video_path(video))
    root, names = pictures.pattern(path)
    if not path.exists() and not (root != path and any(root.glob(names))):
        raise InputError(f"There is no file {video}.", why=_nearby(path), fix="Check the path.")
    if path.is_dir() and not any(file.suffix.lower() in pictures.SUFFIXES for file in path.iterdir()):
        raise InputError(f"{video} is a folder without pictures.", fix="Name a video, or a folder of pictures.")
    name = root.name if root != path else path.stem
    folder = Path(out).expanduser() if out else Path.cwd() / f"{name}{layout.SUFFIX}"
    existed = folder.exists()
    workspace = Workspace.create(folder)
    record = None if force else records.load_record(workspace, "preprocess")
    if record is not None and record.inputs and input_digest(workspace, path) not in record.inputs.values():
        raise WorkspaceError(
            f"{workspace.root.name} was made from another video.",
            why=f"It holds {', '.join(Path(name).name for name in record.inputs)}.",
            fix="Choose another --out, or add --force to replace what it holds.",
        )
    try:
        yield workspace
    except InputError as error:
        if not existed:
            shutil.rmtree(workspace.root, ignore_errors=True)
            error.__notes__ = []  # the log is gone with it
        raise


def _nearby(path: Path) -> str:
    import difflib

    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"There is a {near[0]} in {path.parent}." if near else ""
