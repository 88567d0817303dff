"""Turn text and TOML into a stage's settings dataclass, and say what was meant where a name is wrong."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from headavatar.errors import UsageError
from headavatar.ranges import Grammar
from headavatar.workspace.stages import Extension, StageSpec

DEFAULT_PRESET = "balanced"


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A stage's settings and where they come from.

    Attributes:
        settings: the dataclass that the stage's function takes.
        preset: the preset that they start from.
        chosen: what was chosen by hand on top of the preset, on the command line or in config.toml.
        seed: seed of the stage's random choices.
    """

    settings: Any
    preset: str
    chosen: Mapping[str, Any]
    seed: int


@cache
def field_types(settings: type) -> dict[str, Any]:
    """The type of every field of a settings dataclass, in order."""
    hints = typing.get_type_hints(settings)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings)}


def fields_of(spec: StageSpec, extension: Extension | None) -> dict[str, dataclasses.Field[Any]]:
    """Every field that a person may set: the stage's own, then those of its extension."""
    types = field_types(spec.settings)
    found = {field.name: field for field in dataclasses.fields(spec.settings) if types[field.name] is not Any}
    if extension is not None:
        found |= {field.name: field for field in dataclasses.fields(extension.settings)}
    return found


def resolve(
    spec: StageSpec, preset: str | None, seed: int, values: Mapping[str, Any], where: Mapping[str, str] | None = None
) -> Resolved:
    """Settings from a preset and what was chosen on top of it.

    Args:
        spec: the stage.
        preset: its name, or None for the default.
        seed: of the stage's random choices.
        values: field → value, or text of a value.
        where: field → where its value was written ("config.toml"), for messages.
    Raises:
        UsageError: no such preset, no such field, or a value that the field cannot take.
    """
    preset = preset or DEFAULT_PRESET
    own = {name: kind for name, kind in field_types(spec.settings).items() if kind is not Any}
    # A method may have presets beyond its stage's: for the stage's own settings they are the default one.
    known = preset if not spec.presets or preset in spec.presets else DEFAULT_PRESET
    settings = _build(spec.settings, _preset(spec.name, spec.presets, known), values, own, where)
    extension = spec.extension(settings)
    if known != preset and (extension is None or preset not in extension.presets):
        raise unknown("preset", preset, spec.presets if extension is None else extension.presets, spec.name)
    chosen = {name: getattr(settings, name) for name in values if name in own}
    allowed = list(own)
    if extension is not None:
        allowed = list(fields_of(spec, extension))
        types = field_types(extension.settings)
        inner = _build(extension.settings, _preset(spec.name, extension.presets, preset), values, types, where)
        settings = dataclasses.replace(settings, **{extension.field: inner})
        chosen |= {name: getattr(inner, name) for name in values if name in types}
    for name in values:
        if name not in allowed:
            raise unknown("setting", name, allowed, spec.name, (where or {}).get(name, ""))
    return Resolved(settings, preset, chosen, seed)


def unknown(kind: str, name: str, known: Iterable[str], of: str = "", where: str = "") -> UsageError:
    """The error for a name that does not exist, with the nearest one that does."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    what = f"There is no {kind} {name!r}" + (f" of {of}" if of else "") + (f" ({where})" if where else "") + "."
    fix = f"Did you mean {near[0]!r}?" if near else "Choose one of these."
    return UsageError(what, why=f"Known: {', '.join(known)}.", fix=fix)


def as_dict(settings: Any) -> dict[str, Any]:
    """Every setting by name; those of an extension are nested under its field."""
    return dataclasses.asdict(settings)


def deciding(settings: Any) -> dict[str, Any]:
    """The settings that change the result: what enters a fingerprint."""
    found = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            found[field.name] = deciding(value)
        elif field.metadata.get("added_later") and value == field.default:
            continue
        elif field.metadata.get("changes_result", True):
            found[field.name] = value
    return found


def flat(settings: Any) -> dict[str, Any]:
    """Every setting by name, an extension's beside the stage's own."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            found |= flat(value)
        else:
            found[field.name] = value
    return found


def flat_dict(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`flat` for settings that are a dict already, as records hold them."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat_dict(value) if isinstance(value, Mapping) else {name: value}
    return found


def flat_known(spec: StageSpec, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded settings that the stage still has."""
    values = flat_dict(settings)
    known = {name: values[name] for name in field_types(spec.settings) if name in values}
    extension = spec.extension(spec.settings(**known))
    extra = field_types(extension.settings) if extension is not None else {}
    return {name: value for name, value in values.items() if name in known or name in extra}


def _preset(stage: str, presets: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    if name in presets:
        return presets[name]
    if name == DEFAULT_PRESET and not presets:
        return {}
    if not presets and name in ("fast", "quality"):
        return {}  # a stage without presets has one quality only
    raise unknown("preset", name, presets or (DEFAULT_PRESET,), stage)


def _build(
    kind: type,
    preset: Mapping[str, Any],
    values: Mapping[str, Any],
    types: Mapping[str, Any],
    where: Mapping[str, str] | None,
) -> Any:
    chosen = dict(preset)
    metadata = {field.name: field.metadata for field in dataclasses.fields(kind)}
    for name, value in values.items():
        if name in types:
            origin = (where or {}).get(name, "")
            chosen[name] = _coerce(name, value, types[name], metadata[name].get("choices", ()), origin)
            _check(name, chosen[name], metadata[name].get("within"), origin)
            _check_text(name, chosen[name], metadata[name].get("grammar"), origin)
    return kind(**chosen)


_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _coerce(name: str, value: Any, kind: Any, choices: tuple[Any, ...], where: str) -> Any:
    origin = f" ({where})" if where else ""
    try:
        result = _parse(value, kind)
    except (ValueError, TypeError):
        words = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "something else")
        raise UsageError(
            f"{name} cannot be {value!r}{origin}.", why=f"It takes {words}.", fix=f"Give it as {name}=VALUE."
        ) from None
    if choices and result not in choices:
        known = [str(choice) for choice in choices]
        near = difflib.get_close_matches(str(result), known, n=1, cutoff=0.5)
        raise UsageError(
            f"{name} cannot be {value!r}{origin}.",
            why=f"It takes one of: {', '.join(known)}.",
            fix=f"Did you mean {near[0]!r}?" if near else f"Try {name}={known[0]}.",
        )
    return result


def _check(name: str, value: Any, within: tuple[float, float] | None, where: str) -> None:
    """Refuse a number that lies outside what the field may be, or that is none."""
    if within is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    low, high = within
    if low <= value <= high and math.isfinite(value):
        return
    origin = f" ({where})" if where else ""
    allowed = f"from {low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
    raise UsageError(
        f"{name} cannot be {value!r}{origin}.", why=f"It takes a number that is {allowed}.",
        fix=f"Give it as {name}=VALUE, or leave it out.",
    )  # fmt: skip


def _check_text(name: str, value: Any, grammar: Grammar | None, where: str) -> None:
    """Refuse a text that is not written as the field's are."""
    if grammar is None or grammar.allows(value):
        return
    origin = f" ({where})" if where else ""
    raise UsageError(
        f"{name} cannot be {value!r}{origin}.", why=f"It is written as in {grammar.example}.",
        fix=f"For example {name}={grammar.example}.",
    )  # fmt: skip


def _parse(value: Any, kind: Any) -> Any:
    if kind is bool:
        if str(value).lower() not in _BOOLEANS:
            raise ValueError
        return _BOOLEANS[str(value).lower()]
    if kind is int:
        if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
            raise ValueError
        return int(value)
    if kind is float:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    if kind is str:
        if not isinstance(value, str):
            raise ValueError
        return value
    if typing.get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else list(value)
        inner = typing.get_args(kind)
        kinds = [inner[0]] * len(items) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
        if len(kinds) != len(items):
            raise ValueError
        return tuple(_parse(item, one) for item, one in zip(items, kinds, strict=True) if item != "")
    return value
