"""Settings of `fit`; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headavatar.methods import registry
from headavatar.workspace.stages import Extension, StageSpec, setting


@dataclass(frozen=True)
class FitSettings:
    """What every method is told; the numbers of one method join them, see `methods`."""

    method: str = setting("nerf-blendshape", "How the head is represented; `headavatar methods` lists them.")
    name: str = setting("", "Name of the avatar; the method's where not given.")
    split: str = setting(
        "blocks", "Which frames are held out: the last second of every five, the last fifth, or those that the folder "
        "holds out that the clip was imported from.",
        choices=("blocks", "tail", "recorded"),
    )  # fmt: skip
    with_torso: bool = setting(False, "Keep the shoulders: supervise the person's matte instead of the head's.")
    released: str = setting(
        "none", "Whose weights the avatar is made of, in place of a fit.", choices=("none", "nerfblendshape"),
        added_later=True,
    )  # fmt: skip
    weights: str = setting("", "The file of those weights.", changes_result=False)
    preview_frames: int = setting(
        3, "Holdout frames rendered while fitting, for the table and the previews.", changes_result=False
    )
    method_settings: Any = setting(None, "The method's own settings.")


def _extension(settings: Any) -> Extension:
    spec = registry.get(settings.method)
    return Extension("method_settings", spec.settings, spec.presets, spec.version)


def _models(settings: Any) -> tuple[str, ...]:
    if settings.released != "none":
        return ()
    return registry.get(settings.method).models(settings.method_settings)


PRESETS: dict[str, dict[str, Any]] = {"fast": {}, "balanced": {}, "quality": {}}

STAGE = StageSpec(
    name="fit",
    version=1,
    settings=FitSettings,
    run="headavatar.fit.stage:run",
    upstream=("track",),
    presets=PRESETS,
    models=_models,
    instance="name",
    inputs=lambda settings: (settings.weights,),
    extension=_extension,
)
