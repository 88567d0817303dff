"""Settings of `export`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headavatar.workspace.stages import StageSpec, setting


@dataclass(frozen=True)
class ExportSettings:
    """What `export` writes."""

    format: str = setting(
        "glb",
        "glb: mesh, 52 morph targets and animation for Blender, Unity, three.js; mp4: the avatar alone; "
        "obj: the head at rest; nerfblendshape, vhap, insta and imavatar: those projects' dataset folders.",
        choices=("glb", "mp4", "obj", "nerfblendshape", "vhap", "insta", "imavatar"),
    )
    avatar: str = setting(
        "", "Avatar for mp4; may be left out where the workspace has only one. Where nerfblendshape is given one, its "
        "weights are written too.",
    )  # fmt: skip
    frames: str = setting("", "Part of the clip, as A:B in usable frames; empty takes all.")
    size: int = setting(0, "Side of an mp4's picture in pixels; 0 keeps the clip's.")
    background: str = setting("white", "Color behind an mp4's head.", choices=("white", "black", "gray", "green"))


PRESETS: Mapping[str, Mapping[str, Any]] = {"fast": {}, "balanced": {}, "quality": {}}

STAGE = StageSpec(
    name="export",
    version=2,
    settings=ExportSettings,
    run="headavatar.export.stage:run",
    upstream=("track",),
    presets=PRESETS,
    instance="format",
    needs=lambda settings: (
        ("fit",) if settings.format == "mp4" or (settings.format == "nerfblendshape" and settings.avatar) else ()
    ),
)
