"""Settings of `eval`; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headavatar.ranges import AT_LEAST_ONE
from headavatar.workspace.stages import StageSpec, setting


@dataclass(frozen=True)
class EvalSettings:
    """What is measured."""

    avatar: str = setting("", "Avatar to measure; may be left out where the workspace has only one.")
    lpips_network: str = setting("alex", "Network of LPIPS.", choices=("alex", "vgg"))
    refine: str = setting(
        "none", "A second figure, beside that of tracked poses: what is refined against the avatar for it.",
        choices=("none", "pose", "pose+expression"), added_later=True,
    )  # fmt: skip
    refine_every: int = setting(1, "Refine only every K-th holdout frame.", added_later=True, within=AT_LEAST_ONE)


def _models(settings: Any) -> tuple[str, ...]:
    return (f"lpips_{settings.lpips_network}",)


STAGE = StageSpec(
    name="eval",
    version=4,
    settings=EvalSettings,
    run="headavatar.evaluate.stage:run",
    upstream=("fit",),
    models=_models,
    instance="avatar",
)
