"""`headavatar run VIDEO`: the whole way, from the video to the report."""

from __future__ import annotations

import typer

from headavatar.cli.fit import Method, Name, SplitOption, WithTorso
from headavatar.cli.options import Common, stage_verb, video_path
from headavatar.cli.preprocess import Every, MaxFrames, Out, Size, Start, Video, workspace_for


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "run")
    def run(
        common: Common,
        video: Video,
        out: Out = None,
        start: Start = None,
        max_frames: MaxFrames = None,
        every: Every = None,
        size: Size = None,
        method: Method = None,
        name: Name = None,
        split: SplitOption = None,
        with_torso: WithTorso = None,
    ) -> None:
        """Go the whole way: preprocess, track, fit, eval, render, export and report."""
        from headavatar import pipeline
        from headavatar.cli import session

        made_from = {"start": start, "max_frames": max_frames, "every": every, "size": size}
        avatar = name or method or pipeline.stage_spec("fit").settings().method
        wanted = session.requests(
            common,
            {
                "preprocess": {"video": video_path(video), **made_from},
                "track": {},
                "fit": {"method": method, "name": avatar, "split": split, "with_torso": with_torso},
                "eval": {"avatar": avatar},
                "render": {"avatar": avatar},
                "export": {},
                "report": {},
            },
        )
        with workspace_for(video, out or common.workspace, force=common.force) as workspace:
            session.bring_up(workspace, common, wanted, next_command="reenact SRC TGT")
