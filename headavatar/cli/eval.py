"""`headavatar eval`: PSNR, SSIM and LPIPS on the held-out frames, beside two baselines."""

from __future__ import annotations

from typing import Annotated

import typer

from headavatar.cli.options import AvatarOption, Common, stage_verb

RefineOption = Annotated[
    str | None,
    typer.Option(
        "--refine", help="Beside the figures of tracked poses, those of poses refined against the avatar.",
        metavar="none|pose|pose+expression",
    ),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "eval", "Inspect")
    def evaluate(common: Common, avatar: AvatarOption = None, refine: RefineOption = None) -> None:
        """Measure an avatar on the held-out frames, beside the nearest frame and the tracked mesh."""
        from headavatar.cli import session

        wanted = session.requests(common, {"eval": {"avatar": avatar, "refine": refine}})
        session.bring_up(session.open_workspace(common), common, wanted, next_command="report")
