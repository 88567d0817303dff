"""Settings of `report`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headavatar.ranges import AT_LEAST_ONE
from headavatar.workspace.stages import StageSpec, setting


@dataclass(frozen=True)
class ReportSettings:
    """What goes into the report."""

    frames: int = setting(24, "Frames on the contact sheet, and as many rejected ones.", within=AT_LEAST_ONE)
    holdout: int = setting(
        12, "Held-out frames rendered to choose from, where `eval` has not scored them all.", within=AT_LEAST_ONE
    )


PRESETS: Mapping[str, Mapping[str, Any]] = {"fast": {}, "balanced": {}, "quality": {"frames": 48}}

STAGE = StageSpec(
    name="report",
    version=1,
    settings=ReportSettings,
    run="headavatar.report.stage:run",
    upstream=("preprocess",),
    presets=PRESETS,
    always=True,
)
