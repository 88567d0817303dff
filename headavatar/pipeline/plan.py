"""Which stages have to run, and why."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headavatar.errors import UsageError, WorkspaceError
from headavatar.workspace import Workspace, layout
from headavatar.workspace import records as rec
from headavatar.workspace import settings as st
from headavatar.workspace.config import StageConfig, read_config
from headavatar.workspace.digests import input_digest
from headavatar.workspace.discovery import resolve_name
from headavatar.workspace.stages import StageSpec

STAGES: dict[str, str] = {
    "preprocess": "headavatar.preprocess.settings",
    "track": "headavatar.track.settings",
    "fit": "headavatar.fit.settings",
    "eval": "headavatar.evaluate.settings",
    "render": "headavatar.render.settings",
    "reenact": "headavatar.reenact.settings",
    "export": "headavatar.export.settings",
    "report": "headavatar.report.settings",
}
"""Verb → module that holds its `STAGE`, in the order in which a video walks through them."""

_AVATAR_FIELDS = ("avatar", "name")

CURRENT, STALE, MISSING, INTERRUPTED, DAMAGED = "current", "stale", "missing", "interrupted", "damaged"


@dataclass(frozen=True)
class Request:
    """A stage that somebody asked for.

    Attributes:
        stage: its name.
        values: settings chosen on the command line, field → value or text.
        preset, seed: where they were given.
        asked: False for a mere hint: settings for a stage that runs only if another needs it.
    """

    stage: str
    values: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    seed: int | None = None
    asked: bool = True


@dataclass(frozen=True)
class Step:
    """One stage of a plan.

    Attributes:
        spec, instance: which.
        resolved: its settings.
        fingerprint: of the result it will have.
        upstream, models, inputs: what the fingerprint was made of.
        state: current, stale, missing, interrupted or damaged.
        why: the reason, in words.
        asked: somebody asked for it; else it is only needed.
        record: what is there, where it can be read.
        damage: why the record cannot be read.
        note: a choice that was made for the user, worth a line of output.
    """

    spec: StageSpec
    instance: str
    resolved: st.Resolved
    fingerprint: str
    upstream: Mapping[str, str]
    models: Mapping[str, str]
    inputs: Mapping[str, str]
    state: str
    why: str
    asked: bool
    record: rec.Record | None = None
    damage: WorkspaceError | None = None
    note: str = ""

    @property
    def key(self) -> str:
        return layout.instance_key(self.spec.name, self.instance)


def stage_spec(name: str) -> StageSpec:
    """The description of a stage.

    Raises:
        UsageError: there is no such stage.
    """
    if name not in STAGES:
        raise st.unknown("stage", name, STAGES)
    spec: StageSpec = importlib.import_module(STAGES[name]).STAGE
    return spec


def avatar_names(workspace: Workspace) -> list[str]:
    """Names of the avatars that were fitted or begun, the newest first."""
    found: dict[str, float] = {}
    for path in workspace.path(layout.STATE).glob("fit.*.json"):
        name = path.name.removeprefix("fit.").removesuffix(".json").removesuffix(rec.STARTED)
        found[name] = max(found.get(name, 0.0), path.stat().st_mtime)
    return sorted(found, key=lambda name: -found[name])


def plan(workspace: Workspace, requests: Sequence[Request], *, deps: bool = True, force: bool = False) -> list[Step]:
    """Everything that the requests need, upstream first, each with its state.

    Args:
        workspace: where.
        requests: stages in any order; a stage that is only needed keeps the settings that it last ran with.
        deps: include what is needed; without it, only what was asked for.
        force: treat the stages that were asked for as stale.
    Raises:
        UsageError: a stage, setting or preset does not exist.
    """
    planner = Planner(workspace, {r.stage: r for r in requests if not r.asked}, deps, force)
    order = list(STAGES)
    for request in sorted((r for r in requests if r.asked), key=lambda r: order.index(stage_spec(r.stage).name)):
        planner.add(request)
    return [step for step in planner.steps.values() if deps or step.asked]


class Planner:
    """Adds steps with what they need, once each.

    Args:
        workspace: where.
        hints: requests for stages that run only if another needs them, by stage.
        deps, force: as for `plan`.
    """

    def __init__(
        self,
        workspace: Workspace,
        hints: Mapping[str, Request] | None = None,
        deps: bool = True,
        force: bool = False,
    ) -> None:
        self.workspace = workspace
        self.hints = hints or {}
        self.deps = deps
        self.force = force
        self.config = read_config(workspace)
        self.steps: dict[str, Step] = {}

    def add(self, request: Request, instance: str = "") -> Step:
        """The step for a request, planned after everything above it.

        Args:
            request: what is asked for or needed.
            instance: the avatar that whoever needs this stage means.
        """
        spec = stage_spec(request.stage)
        values, note = dict(request.values), ""
        if spec.instance in _AVATAR_FIELDS and not values.get(spec.instance):
            values[spec.instance], note = (instance, "") if instance else self._default_avatar(spec, values)
        key = spec.name
        if spec.instance:
            instance = str(values.get(spec.instance) or getattr(st.resolve(spec, None, 0, {}).settings, spec.instance))
            _check_name(instance)
            key = layout.instance_key(spec.name, instance)
            values[spec.instance] = instance
        else:
            instance = ""
        if key in self.steps:
            return self.steps[key]
        record, damage = self._record(key)
        resolved = self._resolve(spec, key, request, values, record)
        if "fit" in spec.all_upstream(resolved.settings) and not resolved.settings.avatar:
            values["avatar"], note = self._default_avatar(spec, values)
            resolved = self._resolve(spec, key, request, values, record)
        started = rec.load_started(self.workspace, key)
        upstream, waiting = self._upstream(spec, request, resolved)
        models = _model_digests(spec.models(resolved.settings))
        inputs = self._inputs(spec, resolved.settings, record, started)
        fingerprint = rec.fingerprint(
            spec.name, stage_version(spec, resolved), st.deciding(resolved.settings), resolved.seed, upstream, models,
            inputs.values(),
        )  # fmt: skip
        state, why = CURRENT, ""
        if damage is not None:
            state, why = DAMAGED, damage.what
        elif record is None:
            state, why = (INTERRUPTED, "it stopped before its end") if started else (MISSING, "not done yet")
        elif record.fingerprint != fingerprint:
            state, why = STALE, _difference(record, spec, resolved, upstream, models, inputs)
        elif gone := rec.missing_output(self.workspace, record):
            state, why = STALE, gone
        elif waiting:
            state, why = STALE, waiting
        elif request.asked and (self.force or spec.always):
            state, why = STALE, "--force" if self.force else "it looks at everything there is"
        step = Step(
            spec, instance, resolved, fingerprint, upstream, models, inputs, state, why,
            request.asked, record, damage, note,
        )  # fmt: skip
        self.steps[key] = step
        return step

    def _upstream(self, spec: StageSpec, request: Request, resolved: st.Resolved) -> tuple[dict[str, str], str]:
        fingerprints, waiting = {}, ""
        avatar = str(getattr(resolved.settings, "avatar", "") or getattr(resolved.settings, "name", ""))
        for name in spec.all_upstream(resolved.settings):
            hint = self.hints.get(name, Request(name, preset=request.preset, seed=request.seed, asked=False))
            above = self.add(hint, avatar)
            if not self.deps and above.record is None and request.asked and above.key not in self._asked():
                raise WorkspaceError(
                    f"{spec.name} needs {above.key}, which has not finished.",
                    why="--no-deps runs only what was asked for.",
                    fix="Leave out --no-deps.",
                )
            fingerprints[above.key] = above.fingerprint
            if not self.deps and above.record is not None:
                fingerprints[above.key] = above.record.fingerprint
            elif above.state != CURRENT:
                waiting = waiting or f"{above.key} is {above.state}"
        return fingerprints, waiting

    def _asked(self) -> set[str]:
        return {key for key, step in self.steps.items() if step.asked}

    def _default_avatar(self, spec: StageSpec, values: Mapping[str, Any]) -> tuple[str, str]:
        if spec.name == "fit":  # an avatar is called after its method
            return str(values.get("method") or st.resolve(spec, None, 0, {}).settings.method), ""
        names = avatar_names(self.workspace)
        if len(names) > 1:
            return names[0], f"{spec.name}: avatar {names[0]}, the newest of {len(names)}; choose with --avatar"
        return (names[0], "") if names else self._default_avatar(stage_spec("fit"), {})

    def _resolve(
        self, spec: StageSpec, key: str, request: Request, values: Mapping[str, Any], record: rec.Record | None
    ) -> st.Resolved:
        known = self.config.get(key, StageConfig())
        if key not in self.config and record is not None and not request.asked:  # somebody deleted its table
            known = StageConfig(None, record.seed, st.flat_known(spec, record.settings))
        where = {name: f"{layout.CONFIG} [{key}]" for name in known.values if name not in values}
        preset, seed = known.preset, known.seed
        fits = request.asked or (key not in self.config and (request.preset in spec.presets or not spec.presets))
        if request.preset and fits:
            preset = request.preset
        if request.seed is not None and (request.asked or key not in self.config):
            seed = request.seed
        return st.resolve(spec, preset, seed or 0, {**known.values, **values}, where)

    def _record(self, key: str) -> tuple[rec.Record | None, WorkspaceError | None]:
        try:
            return rec.load_record(self.workspace, key), None
        except WorkspaceError as error:
            return None, error

    def _inputs(
        self, spec: StageSpec, settings: Any, record: rec.Record | None, started: Mapping[str, Any] | None
    ) -> dict[str, str]:
        found = {}
        for name in filter(None, spec.inputs(settings)):
            plain = Path(name).exists() and not (Path(name) / layout.INFO).exists()  # pictures/ beside pictures.avatar/
            other = None if plain else resolve_name(name)
            if other is not None and other.resolve() == self.workspace.root.resolve() and "track" in self.steps:
                found[name] = self.steps["track"].fingerprint  # its own motion, which this very plan may bring up
                continue
            if other is not None:
                tracked = rec.load_record(Workspace.open(other), "track")
                found[name] = tracked.fingerprint if tracked else ""
                continue
            try:
                found[name] = input_digest(self.workspace, Path(name))
            except OSError:  # moved away since; what was made from it stays good
                known = record.inputs if record else (started or {}).get("inputs", {})
                found[name] = str(known.get(name, ""))
        return found


def stage_version(spec: StageSpec, resolved: st.Resolved) -> int:
    """The version of the code that these settings run: the stage's, and its extension's."""
    extension = spec.extension(resolved.settings)
    return spec.version if extension is None else spec.version * 1000 + extension.version


def _model_digests(names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    from headavatar.pretrained.catalog import ENTRIES

    return {name: ENTRIES[name].sha256 for name in names}


def _difference(
    record: rec.Record,
    spec: StageSpec,
    resolved: st.Resolved,
    upstream: Mapping[str, str],
    models: Mapping[str, str],
    inputs: Mapping[str, str],
) -> str:
    """Why a record's fingerprint is not the one that is wanted, in words."""
    now, then = st.flat_dict(st.deciding(resolved.settings)), st.flat_dict(record.settings)
    changed = [f"{name} {then.get(name)!r} → {value!r}" for name, value in now.items() if not _same(then, name, value)]
    if record.seed != resolved.seed:
        changed.append(f"seed {record.seed} → {resolved.seed}")
    reasons = [f"settings changed: {', '.join(changed)}"] if changed else []
    reasons += [f"{key} changed" for key in upstream if record.upstream.get(key) != upstream[key]]
    reasons += [f"network {name} changed" for name in models if record.models.get(name) != models[name]]
    if list(record.inputs.values()) != list(inputs.values()):
        reasons.append("the input's content changed")
    if record.version != stage_version(spec, resolved):
        reasons.append("this version computes it differently")
    return "; ".join(reasons) or "its record does not match"


def _same(then: Mapping[str, Any], name: str, value: Any) -> bool:
    return name in then and then[name] == (list(value) if isinstance(value, tuple) else value)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name.endswith((rec.STARTED, ".json")):
        raise UsageError(
            f"{name!r} cannot be a name.", why="Names are letters, digits, - . and _.", fix="Choose another --name."
        )
