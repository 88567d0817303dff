"""Settings of `reenact`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from headavatar.ranges import FRAMES
from headavatar.workspace.stages import StageSpec, setting


@dataclass(frozen=True)
class ReenactSettings:
    """Whose motion goes on whose avatar, and how."""

    src: str = setting("", "Who drives: a tracked workspace or a motion .npz.", changes_result=False)
    avatar: str = setting("", "Avatar that is seen; may be left out where the workspace has only one.")
    transfer: str = setting(
        "relative", "relative: each measured from its own rest; absolute: the driver's parameters as they are.",
        choices=("relative", "absolute"),
    )  # fmt: skip
    src_neutral: int = setting(-1, "The driver's frame at rest, by its number; -1 finds it.", within=(-1, inf))
    tgt_neutral: int = setting(-1, "The target's frame at rest, by its number; -1 finds it.", within=(-1, inf))
    gain: str = setting(
        "none", "range scales each expression by how far the target's clip takes it over the driver's.",
        choices=("none", "range"),
    )  # fmt: skip
    movement: float = setting(1.0, "Factor on the head's change of place; 0 keeps the target's place.")
    smooth: float = setting(0.0, "Smooth the motion over time, standard deviation in frames; 0 leaves it.")
    frames: str = setting("", "Part of the driver's clip, as A:B in usable frames; empty takes all.", grammar=FRAMES)
    size: int = setting(0, "Side of a rendered picture in pixels; 0 keeps the target clip's.")
    background: str = setting("white", "Color behind the head.", choices=("white", "black", "gray", "green"))
    side_by_side: bool = setting(True, "Show the driver's frames beside the avatar.")


PRESETS: Mapping[str, Mapping[str, Any]] = {"fast": {}, "balanced": {}, "quality": {}}

STAGE = StageSpec(
    name="reenact",
    version=4,
    settings=ReenactSettings,
    run="headavatar.reenact.stage:run",
    upstream=("fit",),
    presets=PRESETS,
    instance="avatar",
    inputs=lambda settings: (settings.src,),
)
