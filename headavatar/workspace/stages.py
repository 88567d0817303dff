"""How a stage describes itself to the planner: name, version, upstream, settings, models, and where its code is.

Each stage package has a `settings.py` that imports no torch, cv2 or mediapipe and holds three things: a frozen
dataclass of settings, `PRESETS`, and `STAGE = StageSpec(...)`. The command line builds its options from the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import field as dataclass_field
from typing import Any


def setting(default: Any, help: str, *, choices: tuple[Any, ...] = (), changes_result: bool = True) -> Any:
    """A settings field: its default, its help text, and whether another value gives another result.

    Args:
        default: the value of the balanced preset; lists and dicts are not allowed.
        help: one sentence, shown by --help and written beside the value in config.toml.
        choices: the values allowed, where they are few.
        changes_result: False keeps the field out of the fingerprint (number of threads, paths of inputs whose
            content is digested, …).
    """
    return dataclass_field(
        default=default, metadata={"help": help, "choices": choices, "changes_result": changes_result}
    )


@dataclass(frozen=True)
class StageSpec:
    """A stage as the planner sees it.

    Attributes:
        name: the verb.
        version: raised whenever the same input would give another output; part of the fingerprint.
        settings: the dataclass of settings, every field made by `setting`.
        run: "package.module:function"; called as `function(workspace, settings, context)` and returns a JSON-able
            summary. Imported only when the stage runs.
        upstream: stages that must be current before this one.
        presets: preset name → {field: value}, on top of the defaults; "balanced" may be empty.
        models: catalog names of the networks that the stage uses under given settings.
        instance: the settings field that tells several results of this stage apart (an avatar's name), or "".
    """

    name: str
    version: int
    settings: type
    run: str
    upstream: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: Callable[[Any], tuple[str, ...]] = lambda settings: ()
    instance: str = ""
