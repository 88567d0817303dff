"""An avatar that is a textured mesh, of known shape and colors: for what other programs are given of one."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_workspace import PaintedAvatar, write_small_workspace

from headavatar.head import HeadModel, load
from headavatar.methods import registry
from headavatar.methods.base import MethodSpec
from headavatar.scene import ARKIT_NAMES, Array, HeadParams
from headavatar.workspace import Workspace
from headavatar.workspace.records import Record, save_record

SIDE = 64


class PlasterAvatar(PaintedAvatar):
    """The embedded head with a bump; its texture is red along u, green along v, and blue as far as the jaw is open."""

    method = "plaster"

    def __init__(self, name: str = "plaster") -> None:
        super().__init__(name)
        self.identity = np.linspace(-1, 1, 100).astype(np.float32)

    @cached_property
    def _mesh(self) -> HeadModel:
        head = load()
        scalp = head.regions["scalp"][:, None].float()
        return head.with_offset(0.02 * scalp * torch.tensor([0.0, 1.0, -0.5]))

    def mesh(self, params: HeadParams | None = None) -> HeadModel:
        return self._mesh

    def texture(self, params: HeadParams | None = None) -> Array:
        jaw = 0.0 if params is None else float(params.expression[0, ARKIT_NAMES.index("jawOpen")])
        u, up = np.meshgrid((np.arange(SIDE) + 0.5) / SIDE, 1 - (np.arange(SIDE) + 0.5) / SIDE)
        return np.round(255 * np.stack([u, up, np.full_like(u, jaw)], -1)).astype(np.uint8)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> PlasterAvatar:
        return cls(json.loads((folder / "avatar.json").read_text())["name"])


SPEC = MethodSpec(
    name="plaster", title="a bust", needs=(), settings=dict, trainer="", avatar="mesh_avatar:PlasterAvatar"
)


def workspace_with_mesh(root: Path, rng: np.random.Generator, monkeypatch: Any) -> Workspace:
    """The small workspace with a second avatar, called plaster, that is a mesh."""
    ours = {**registry.OURS, "painted": "small_workspace:SPEC", "plaster": "mesh_avatar:SPEC"}
    monkeypatch.setattr(registry, "OURS", ours)
    workspace = write_small_workspace(root, rng)
    with workspace.replace_dir("avatars/plaster") as folder:
        PlasterAvatar().save(folder)
    told = workspace.read_json("avatars/painted/metrics.json")
    workspace.write_json("avatars/plaster/metrics.json", {**told, "method": "plaster"})
    save_record(workspace, Record("fit", "plaster", 1, "f", {"split": "blocks"}, outputs={}, seconds=1.0))
    return workspace
