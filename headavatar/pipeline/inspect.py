"""What a workspace holds: every stage's state and the reason, without running or changing anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headavatar.errors import HeadAvatarError
from headavatar.pipeline.plan import DAMAGED, MISSING, STAGES, Planner, Request, stage_spec
from headavatar.workspace import Workspace, layout
from headavatar.workspace import records as rec


@dataclass(frozen=True)
class StageStatus:
    """One line of `status`.

    Attributes:
        key: the stage, with its instance.
        state: current, stale, missing, interrupted or damaged.
        why: the reason where it is not current.
        record: what is there, where it can be read.
    """

    key: str
    state: str
    why: str
    record: rec.Record | None

    def as_json(self) -> dict[str, Any]:
        stage, _, instance = self.key.partition(".")
        found: dict[str, Any] = {"stage": stage, "instance": instance, "state": self.state, "why": self.why}
        if self.record is not None:
            found |= {"seconds": self.record.seconds, "summary": self.record.summary, "device": self.record.device}
        return found


def inspect(workspace: Workspace) -> list[StageStatus]:
    """The state of every stage; what cannot be read is said to be damaged, never raised.

    Args:
        workspace: opened.
    """
    try:
        planner = Planner(workspace)
    except HeadAvatarError as error:  # config.toml cannot be read: no stage's settings are known
        return [StageStatus(layout.CONFIG, DAMAGED, error.what, None)]
    known = {*rec.record_keys(workspace), *planner.config}
    rows = []
    for stage in STAGES:
        keys = sorted(key for key in known if key.partition(".")[0] == stage)
        rows += [_status(planner, key) for key in keys]
        if not keys:
            rows.append(StageStatus(stage, MISSING, "not done yet", None))
    return rows


def _status(planner: Planner, key: str) -> StageStatus:
    stage, _, instance = key.partition(".")
    try:
        field = stage_spec(stage).instance
        step = planner.add(Request(stage, {field: instance} if field else {}, asked=False))
        return StageStatus(key, step.state, step.why, step.record)
    except HeadAvatarError as error:
        return StageStatus(key, DAMAGED, error.what, None)
