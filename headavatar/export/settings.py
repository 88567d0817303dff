"""Settings of `export`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headavatar.ranges import EXPRESSION, FRAMES
from headavatar.workspace.stages import StageSpec, setting


@dataclass(frozen=True)
class ExportSettings:
    """What `export` writes."""

    format: str = setting(
        "glb",
        "glb: mesh, 52 morph targets and animation for Blender, Unity, three.js; mp4: the avatar alone; "
        "obj and ply: the head at rest or with an expression; nerfblendshape, vhap, insta and imavatar: those "
        "projects' dataset folders.",
        choices=("glb", "mp4", "obj", "ply", "nerfblendshape", "vhap", "insta", "imavatar"),
    )
    avatar: str = setting(
        "", "Avatar for mp4 and ply; may be left out where the workspace has only one. Where glb and obj are given one "
        "that is a mesh, they are of it, else of the tracked head. Where nerfblendshape is given one, its weights are "
        "written too.",
    )  # fmt: skip
    frames: str = setting(
        "", "Part of the clip, as A:B in usable frames; empty takes all. Where obj and ply are of an avatar that is a "
        "mesh: a file for each of these frames, and empty is the head at rest.", grammar=FRAMES,
    )  # fmt: skip
    size: int = setting(0, "Side of an mp4's picture in pixels; 0 keeps the clip's.")
    background: str = setting("white", "Color behind an mp4's head.", choices=("white", "black", "gray", "green"))
    mesh: str = setting(
        "auto", "Surface of obj and ply: the avatar's own, its mesh or else by marching cubes, or the tracked head "
        "model's; auto is the avatar's where it is a mesh and for ply, else the head's.",
        choices=("auto", "avatar", "head"), added_later=True,
    )  # fmt: skip
    expression: str = setting(
        "", "Face of obj and ply, as in jawOpen=0.6,browInnerUp=1.", grammar=EXPRESSION, added_later=True,
    )  # fmt: skip
    all_expressions: bool = setting(False, "A mesh for every expression too, in obj and ply.", added_later=True)
    voxel_mm: float = setting(2.0, "How fine an avatar's mesh is, millimetres.", added_later=True, within=(0.1, 100))

    @property
    def of_avatar(self) -> bool:
        """Whether an avatar is looked at, not only the tracking."""
        named = bool(self.avatar)
        own = self.mesh == "avatar" or (self.mesh == "auto" and (self.format == "ply" or named))
        return self.format == "mp4" or (self.format in ("obj", "ply") and own) or (self.format == "glb" and named)


PRESETS: Mapping[str, Mapping[str, Any]] = {"fast": {}, "balanced": {}, "quality": {}}

STAGE = StageSpec(
    name="export",
    version=5,
    settings=ExportSettings,
    run="headavatar.export.stage:run",
    upstream=("track",),
    presets=PRESETS,
    instance="format",
    needs=lambda settings: (
        ("fit",) if settings.of_avatar or (settings.format == "nerfblendshape" and settings.avatar) else ()
    ),
)
