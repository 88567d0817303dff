"""Settings of `render`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headavatar.ranges import EXPRESSION, FRAMES
from headavatar.workspace.stages import StageSpec, setting


@dataclass(frozen=True)
class RenderSettings:
    """What `render` draws."""

    avatar: str = setting("", "Avatar to render; may be left out where the workspace has only one.")
    mode: str = setting(
        "all", "self: beside the real frames; orbit: from all around; swing: yaw from side to side; sweep: every "
        "expression in turn; still: one picture; views: from the cameras of a file; all: self, orbit and sweep.",
        choices=("self", "orbit", "swing", "sweep", "still", "views", "all"),
    )  # fmt: skip
    frames: str = setting(
        "", "Part of the clip for self, as A:B in usable frames, like 0:100; empty takes all.", grammar=FRAMES,
    )  # fmt: skip
    size: int = setting(0, "Side of a rendered picture in pixels; 0 keeps the clip's.")
    background: str = setting("white", "Color behind the head.", choices=("white", "black", "gray", "green"))
    orbit_deg: float = setting(15.0, "How far orbit and swing go to either side, degrees.", within=(0, 180))
    expression: str = setting(
        "", "Face of still, orbit, swing and views, as in jawOpen=0.6,browInnerUp=1.", grammar=EXPRESSION,
    )  # fmt: skip
    cameras: str = setting("", "Cameras to see it from: a JSON file, ours or transforms.json.", changes_result=False)
    look: str = setting(
        "field", "How still, orbit, swing and views are drawn: as fitted, or by the avatar's surface, a colored mesh, "
        "which holds together further from the poses of training.", choices=("field", "surface"), added_later=True,
    )  # fmt: skip
    maps: bool = setting(
        False, "Depth and normals too: video, 16-bit PNG, and NPZ in metres, with a JSON of units and axes.",
        added_later=True,
    )  # fmt: skip


PRESETS: Mapping[str, Mapping[str, Any]] = {"fast": {"mode": "self"}, "balanced": {}, "quality": {}}

STAGE = StageSpec(
    name="render",
    version=5,
    settings=RenderSettings,
    run="headavatar.render.stage:run",
    upstream=("fit",),
    presets=PRESETS,
    instance="avatar",
    inputs=lambda settings: (settings.cameras,),
)
