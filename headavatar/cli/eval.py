"""`headavatar eval`: PSNR, SSIM and LPIPS on the held-out frames, beside two baselines."""

from __future__ import annotations

import typer

from headavatar.cli.options import AvatarOption, Common, stage_verb


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @stage_verb(app, "eval", "Inspect")
    def evaluate(common: Common, avatar: AvatarOption = None) -> None:
        """Measure an avatar on the held-out frames, beside the nearest frame and the tracked mesh."""
        from headavatar.cli import session

        wanted = session.requests(common, {"eval": {"avatar": avatar}})
        session.bring_up(session.open_workspace(common), common, wanted, next_command="report")
