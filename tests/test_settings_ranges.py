"""Numbers and texts of settings: what makes no sense is refused before anything runs, with what would be allowed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from headavatar.errors import UsageError
from headavatar.pipeline import STAGES, stage_spec
from headavatar.workspace.settings import field_types, fields_of, resolve
from headavatar.workspace.stages import StageSpec

METHODS = ("nerf-blendshape", "neural-head-avatar")
SPECS = {name: stage_spec(name) for name in STAGES}


def numbers() -> list[tuple[StageSpec, dict[str, Any], str, dataclasses.Field[Any], type]]:
    """Every number that a person may set: its stage, the method it belongs to, its name, field and type."""
    found = []
    for spec in SPECS.values():
        chosen = (
            [{"method": name} for name in ("nerf-blendshape", "neural-head-avatar")] if spec.name == "fit" else [{}]
        )
        for method in chosen:
            extension = spec.extension(resolve(spec, None, 0, method).settings)
            types = field_types(spec.settings) | (field_types(extension.settings) if extension else {})
            for name, field in fields_of(spec, extension).items():
                if types[name] in (int, float) and not field.metadata["choices"]:
                    found.append((spec, method, name, field, types[name]))
    return found


@pytest.mark.parametrize(("spec", "method", "name", "field", "kind"), numbers(), ids=lambda value: str(value)[:24])
def test_a_number_outside_its_range_is_refused(
    spec: StageSpec, method: dict[str, Any], name: str, field: dataclasses.Field[Any], kind: type
) -> None:
    low, high = field.metadata["within"]
    assert low <= field.default <= high
    assert getattr_flat(resolve(spec, None, 0, {**method, name: str(kind(low))}).settings, name) == kind(low)
    wrong = [str(kind(low - 1))] + ([str(kind(high + 1))] if high < float("inf") else [])
    for value in wrong + (["nan", "inf"] if kind is float else []):
        with pytest.raises(UsageError, match=f"{name} cannot be") as caught:
            resolve(spec, None, 0, {**method, name: value})
        assert f"{low:g}" in caught.value.why


def test_every_preset_lies_within_the_ranges() -> None:
    for spec, method, name, field, _ in numbers():
        extension = spec.extension(resolve(spec, None, 0, method).settings)
        for preset in {*spec.presets, *(extension.presets if extension else {})}:
            low, high = field.metadata["within"]
            assert low <= getattr_flat(resolve(spec, preset, 0, method).settings, name) <= high, (spec.name, preset)


FRAMES, FACE = ("render", "frames"), ("render", "expression")
TEXTS = [
    (FRAMES, "0:100", True), (FRAMES, ":-3", True), (FRAMES, "5:", True), (FRAMES, "7", False), (FRAMES, "a:b", False),
    (FRAMES, "1:2:3", False), (("reenact", "frames"), "3-9", False), (("export", "frames"), "3,9", False),
    (FACE, "jawOpen=0.6,mouthSmileLeft=.3", True), (FACE, "jawOpen = 1, mouthClose=2e-1,", True),
    (FACE, "jawOpen=2x", False), (FACE, "jawOpen", False), (FACE, "jawOpen=", False), (FACE, "=1", False),
    (("export", "expression"), "jawOpen=nan", False),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "text", "fine"), TEXTS)
def test_a_text_that_is_written_wrongly_is_refused(setting: tuple[str, str], text: str, fine: bool) -> None:
    stage, name = setting
    if fine:
        assert getattr(resolve(SPECS[stage], None, 0, {name: text}).settings, name) == text
        return
    with pytest.raises(UsageError, match=f"{name} cannot be") as caught:
        resolve(SPECS[stage], None, 0, {name: text})
    assert SPECS[stage].settings.__dataclass_fields__[name].metadata["grammar"].example in str(caught.value.fix)


def getattr_flat(settings: Any, name: str) -> Any:
    """A setting of the stage's own or of its method's."""
    return getattr(settings, name) if hasattr(settings, name) else getattr(settings.method_settings, name)
