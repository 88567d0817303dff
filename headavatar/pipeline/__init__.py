"""Decide which stages have to run, run them in order, and write their records.

    outcomes = pipeline.run(workspace, [Request("fit", {"method": "nerf-blendshape"})], reporter=reporter)

A stage is described by the `STAGE` of its package's settings.py, imported when it is planned; its code is imported when
it runs.
"""

from headavatar.pipeline.inspect import StageStatus, inspect
from headavatar.pipeline.plan import STAGES, Request, Step, avatar_names, plan, stage_spec
from headavatar.pipeline.run import Outcome, resolve_device, run

__all__ = [
    "STAGES",
    "Outcome",
    "Request",
    "StageStatus",
    "Step",
    "avatar_names",
    "inspect",
    "plan",
    "resolve_device",
    "run",
    "stage_spec",
]
