"""The state of an unfinished fit on disk: one safetensors file, replaced as the fit goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from headavatar.methods import Trainer
from headavatar.workspace import Workspace


class Checkpoints:
    """Keeps the newest state of one avatar's fit.

    Args:
        workspace: holds the avatar.
        name: of the avatar.
        tag: must be equal for a state to be taken up again, such as the number of rays after memory ran out.
    """

    def __init__(self, workspace: Workspace, name: str, tag: str) -> None:
        self.workspace, self.tag = workspace, tag
        self.rel = f"avatars/{name}/checkpoints/latest.safetensors"

    @property
    def path(self) -> Path:
        return self.workspace.path(self.rel)

    def save(self, trainer: Trainer, step: int, rows: list[Any]) -> None:
        """Write the state after `step` steps, with the rows of the table so far."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in trainer.state().items()}
        about = {"step": str(step), "rows": json.dumps(rows), "tag": self.tag}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.workspace.replace_file(self.rel) as temporary:
            safetensors.torch.save_file(tensors, str(temporary), metadata=about)

    def restore(self, trainer: Trainer) -> tuple[int, list[Any]]:
        """Load the newest state into a fresh trainer.

        Returns:
            the number of steps done, 0 where there is no usable state, and the rows so far.
        """
        if not self.path.is_file():
            return 0, []
        try:
            with safetensors.safe_open(str(self.path), framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, safetensors.SafetensorError):
            return 0, []  # a damaged checkpoint costs time, not the result
        if about.get("tag") != self.tag:
            return 0, []
        trainer.load_state(tensors)
        return int(about["step"]), json.loads(about["rows"])

    def clear(self) -> None:
        """Forget the state: the fit is done."""
        self.path.unlink(missing_ok=True)
