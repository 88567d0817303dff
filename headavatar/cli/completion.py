"""`headavatar completion SHELL`: the script that makes TAB complete."""

from __future__ import annotations

from typing import Annotated

import typer

from headavatar.cli.options import Verbose, verb

PROGRAM = "headavatar"
COMPLETE_VARIABLE = "_HEADAVATAR_COMPLETE"
SHELLS = ("bash", "zsh", "fish", "powershell")
_HINTS = {
    "bash": "headavatar completion bash > ~/.local/share/bash-completion/completions/headavatar",
    "zsh": "headavatar completion zsh > a folder of $fpath, as _headavatar",
    "fish": "headavatar completion fish > ~/.config/fish/completions/headavatar.fish",
    "powershell": "headavatar completion powershell >> $PROFILE",
}


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "completion", "Setup")
    def completion(
        shell: Annotated[str, typer.Argument(help="Which shell.", metavar="|".join(SHELLS))], verbose: Verbose = False
    ) -> None:
        """Print the completion script of a shell."""
        from headavatar.cli.console import say, tell

        say(script(shell))
        tell(f"# {_HINTS[shell]}")


def script(shell: str) -> str:
    """The completion script of a shell, as Typer generates it.

    Raises:
        UsageError: no such shell.
    """
    from typer.completion import get_completion_script

    from headavatar.workspace.settings import unknown

    if shell not in SHELLS:
        raise unknown("shell", shell, SHELLS)
    return str(get_completion_script(prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell))
