"""Settings of `render`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headavatar.workspace.stages import StageSpec, setting


@dataclass(frozen=True)
class RenderSettings:
    """What `render` draws."""

    avatar: str = setting("", "Avatar to render; may be left out where the workspace has only one.")
    mode: str = setting(
        "all", "self: beside the real frames; orbit: from all around; sweep: every expression in turn.",
        choices=("self", "orbit", "sweep", "all"),
    )  # fmt: skip
    frames: str = setting("", "Part of the clip for self, as A:B in usable frames, like 0:100; empty takes all.")
    size: int = setting(0, "Side of a rendered picture in pixels; 0 keeps the clip's.")
    background: str = setting("white", "Color behind the head.", choices=("white", "black", "gray", "green"))
    orbit_deg: float = setting(15.0, "How far the orbit swings to either side, degrees.")
    expression: str = setting("", "Also draw one still picture, as in jawOpen=0.6,browInnerUp=1.")


PRESETS: Mapping[str, Mapping[str, Any]] = {"fast": {"mode": "self"}, "balanced": {}, "quality": {}}

STAGE = StageSpec(
    name="render",
    version=1,
    settings=RenderSettings,
    run="headavatar.render.stage:run",
    upstream=("fit",),
    presets=PRESETS,
    instance="avatar",
)
