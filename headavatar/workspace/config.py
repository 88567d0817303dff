"""config.toml: what was chosen for each stage, the only file of a workspace that a person edits.

    [fit.nerf-blendshape]
    preset = "fast"
    split = "tail"          # which frames are held out
    # steps = 2000          # gradient steps

Lines in use were chosen by hand, here or on the command line, and hold until they are changed; those behind a `#`
show what the preset gives.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headavatar.errors import UsageError
from headavatar.workspace import atomic, layout
from headavatar.workspace.settings import Resolved, fields_of, flat
from headavatar.workspace.stages import StageSpec
from headavatar.workspace.store import Workspace

_HEAD = (
    "Settings of each stage. Edit freely: a stage whose settings changed runs again when it is needed.",
    "Lines in use were chosen by hand; those behind a # show what the preset gives.",
)


@dataclass(frozen=True)
class StageConfig:
    """One table of config.toml."""

    preset: str | None = None
    seed: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def read_config(workspace: Workspace) -> dict[str, StageConfig]:
    """Every table, by stage key.

    Raises:
        UsageError: the file is not TOML, or a preset or seed is of the wrong kind.
    """
    file = workspace.path(layout.CONFIG)
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file} cannot be read.", why=str(error), fix="Mend that line, or delete the file."
        ) from error
    found = {}
    for stage, table in data.items():
        if not isinstance(table, dict):
            raise UsageError(f"{file} has {stage!r} outside any stage's table.", fix="Move it under a [stage] line.")
        own = {key: value for key, value in table.items() if not isinstance(value, dict)}
        if own:
            found[stage] = _stage_config(file.name, stage, own)
        for instance, inner in table.items():
            if isinstance(inner, dict):
                key = layout.instance_key(stage, instance)
                found[key] = _stage_config(file.name, key, inner)
    return found


def write_config(workspace: Workspace, spec: StageSpec, key: str, resolved: Resolved) -> None:
    """Note what a stage runs with; the file is left alone where it says so already."""
    import tomlkit

    present = read_config(workspace).get(key)
    chosen = {name: value for name, value in resolved.chosen.items() if name != spec.instance}
    if present is not None and present == StageConfig(resolved.preset, resolved.seed or None, chosen):
        return
    file = workspace.path(layout.CONFIG)
    if file.exists():
        document = tomlkit.parse(file.read_text(encoding="utf-8"))
    else:
        document = tomlkit.document()
        for line in _HEAD:
            document.add(tomlkit.comment(line))
    table = tomlkit.table()
    table.add("preset", resolved.preset)
    if resolved.seed:
        table.add("seed", resolved.seed)
    values = flat(resolved.settings)
    for name, described in fields_of(spec, spec.extension(resolved.settings)).items():
        if name == spec.instance:
            continue
        help_text = _help(described.metadata)
        item = tomlkit.item(list(values[name]) if isinstance(values[name], tuple) else values[name])
        if name in chosen:
            item.comment(help_text)
            table.add(name, item)
        else:
            table.add(tomlkit.comment(f"{name} = {item.as_string()}  # {help_text}"))
    stage, _, instance = key.partition(".")
    if instance:
        parent = document.get(stage)
        if parent is None:
            parent = tomlkit.table(is_super_table=True)
            parent[instance] = table
            document[stage] = parent
        else:
            parent[instance] = table
    else:
        document[stage] = table
    atomic.write_text(file, tomlkit.dumps(document), workspace.path(layout.TMP))


def _help(metadata: Mapping[str, Any]) -> str:
    choices = ", ".join(str(choice) for choice in metadata.get("choices", ()))
    text = " ".join(str(metadata.get("help", "")).split())
    return f"{text} ({choices})" if choices else text


def _stage_config(file: str, key: str, table: Mapping[str, Any]) -> StageConfig:
    values = dict(table)
    preset, seed = values.pop("preset", None), values.pop("seed", None)
    if preset is not None and not isinstance(preset, str):
        raise UsageError(f"{file}: the preset of [{key}] is not text.", fix='Write preset = "balanced".')
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise UsageError(f"{file}: the seed of [{key}] is not a whole number.", fix="Write seed = 0.")
    return StageConfig(preset, seed, values)
