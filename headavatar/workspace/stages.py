"""How a stage describes itself to the planner: name, version, upstream, settings, models, and where its code is.

Each stage package has a `settings.py` that imports no torch, cv2 or mediapipe and holds three things: a frozen
dataclass of settings, `PRESETS`, and `STAGE = StageSpec(...)`. The command line builds its options from the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import field as dataclass_field
from typing import Any

from headavatar.ranges import NOT_NEGATIVE, Grammar


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[Any, ...] = (),
    within: tuple[float, float] = NOT_NEGATIVE,
    grammar: Grammar | None = None,
    changes_result: bool = True,
    added_later: bool = False,
) -> Any:
    """A settings field: its default, its help text, and whether another value gives another result.

    Args:
        default: the value of the balanced preset; lists and dicts are not allowed.
        help: one sentence, shown by --help and written beside the value in config.toml.
        choices: the values allowed, where they are few.
        within: least and largest value allowed, of a number.
        grammar: how a text is written.
        changes_result: False keeps the field out of the fingerprint (number of threads, paths of inputs whose
            content is digested, …).
        added_later: True keeps the field out of the fingerprint while it has its default: results of versions that
            did not know it stay current.
    """
    return dataclass_field(
        default=default,
        metadata={
            "help": help,
            "choices": choices,
            "within": within,
            "grammar": grammar,
            "changes_result": changes_result,
            "added_later": added_later,
        },  # fmt: skip
    )


@dataclass(frozen=True)
class Extension:
    """A second dataclass of settings that joins a stage's own: what the chosen method of `fit` can be told.

    Attributes:
        field: the field of the stage's settings that receives the resolved instance; it is made by
            `setting(None, ...)`, typed Any, and cannot be set by hand.
        settings: the dataclass, its fields made like the stage's.
        presets: preset name → {field: value}, as in `StageSpec`.
        version: joins the stage's version in the fingerprint.
    """

    field: str
    settings: type
    presets: Mapping[str, Mapping[str, Any]]
    version: int = 1


@dataclass(frozen=True)
class StageSpec:
    """A stage as the planner sees it.

    Attributes:
        name: the verb.
        version: raised whenever the same input would give another output; part of the fingerprint.
        settings: the dataclass of settings, every field made by `setting`.
        run: "package.module:function"; called as `function(workspace, settings, context)` and returns a JSON-able
            summary, in which `below_gate` lists why `--strict` refuses the result. Imported only when the stage runs.
        upstream: stages that must be current before this one.
        presets: preset name → {field: value}, on top of the defaults; "balanced" may be empty.
        models: catalog names of the networks that the stage uses under given settings.
        instance: the settings field that tells several results of this stage apart (an avatar's name), or "".
        inputs: paths of files from outside the workspace whose content decides the result; the settings field that
            names them has `changes_result=False`. A folder that is a workspace stands for its tracking.
        extension: further settings that these settings ask for, or None.
        needs: further stages upstream under given settings (`export` needs an avatar for some formats only).
        always: run whenever asked for, current or not (a cheap stage that looks at everything there is).
    """

    name: str
    version: int
    settings: type
    run: str
    upstream: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: Callable[[Any], tuple[str, ...]] = lambda settings: ()
    instance: str = ""
    inputs: Callable[[Any], tuple[str, ...]] = lambda settings: ()
    extension: Callable[[Any], Extension | None] = lambda settings: None
    needs: Callable[[Any], tuple[str, ...]] = lambda settings: ()
    always: bool = False

    def all_upstream(self, settings: Any) -> tuple[str, ...]:
        """The stages that must be current before this one runs with these settings."""
        return (*self.upstream, *self.needs(settings))
