"""What was done: one JSON file per finished stage, and the fingerprint that says whether it is still good.

A stage is done when its record says so, its fingerprint matches, and the files it listed are there with the sizes it
listed. The record is written last. While a stage runs there is a `*.started.json` instead, so an unfinished stage is
never taken for a finished one, and work in progress is used again only by a run with the same fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from headavatar.errors import WorkspaceError
from headavatar.workspace import atomic, layout, provenance
from headavatar.workspace.store import Workspace

_CHUNK = 1 << 20
STARTED = ".started"
"""Ends the name of the note that a stage has begun."""


@dataclass(frozen=True)
class Output:
    """A file that a stage left behind: its size in bytes and sha256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """A stage that ran to its end.

    Attributes:
        stage, instance: which result.
        version: the stage's version.
        fingerprint: sha256 over everything that decides the result.
        settings: every setting, also those that change no result.
        upstream: stage key → fingerprint of what it was made from.
        models: catalog name → sha256.
        inputs: file → sha256 of its content.
        outputs: relative path → size and digest.
        summary: what the stage returned.
        seconds: wall time of the run that finished it.
        seed, device, backend, versions, hardware: how to get the same again.
    """

    stage: str
    instance: str
    version: int
    fingerprint: str
    settings: Mapping[str, Any]
    upstream: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    seed: int = 0
    device: str = "cpu"
    backend: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return layout.instance_key(self.stage, self.instance)


def fingerprint(
    stage: str,
    version: int,
    settings: Mapping[str, Any],
    seed: int,
    upstream: Mapping[str, str],
    models: Mapping[str, str],
    inputs: Iterable[str],
) -> str:
    """One hash over everything that decides a stage's result.

    Args:
        stage, version: which code.
        settings: only those that change the result.
        seed: of the random choices.
        upstream: stage key → its fingerprint.
        models: catalog name → sha256.
        inputs: digests of the files that come from outside the workspace, in order.
    """
    value = {
        "stage": stage,
        "version": version,
        "settings": dict(settings),
        "seed": seed,
        "upstream": dict(upstream),
        "models": dict(models),
        "inputs": list(inputs),
    }
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def record_path(key: str) -> str:
    """Where the record of a stage key lies."""
    return f"{layout.STATE}/{key}.json"


def load_record(workspace: Workspace, key: str) -> Record | None:
    """The record of a stage key, or None where it never finished.

    Raises:
        WorkspaceError: the file is there and is not a record; it says which file and what to do.
    """
    data = _load(workspace, record_path(key))
    if data is None:
        return None
    try:
        known = {f.name for f in fields(Record)}
        outputs = {name: Output(int(o["size"]), str(o["sha256"])) for name, o in data["outputs"].items()}
        record = Record(**{**{k: v for k, v in data.items() if k in known}, "outputs": outputs})
        if record.key != key or not isinstance(record.settings, dict) or not isinstance(record.summary, dict):
            raise ValueError("it is the record of something else")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged_record(workspace, key, error) from error
    return record


def damaged_record(workspace: Workspace, key: str, error: Exception) -> WorkspaceError:
    """The error for a record that cannot be read."""
    stage = key.partition(".")[0]
    return WorkspaceError(
        f"The record {workspace.path(record_path(key))} is damaged.",
        why=f"It is not what this program writes ({error}).",
        fix=f"Run the stage again: headavatar {stage} -w {workspace.root.name} --force",
    )


def save_record(workspace: Workspace, record: Record) -> None:
    """Write the record that says the stage is done, and forget that it had started."""
    atomic.write_json(workspace.path(record_path(record.key)), asdict(record), workspace.path(layout.TMP))
    workspace.path(record_path(record.key + STARTED)).unlink(missing_ok=True)


def finish(
    record: Record,
    summary: Mapping[str, Any],
    outputs: Mapping[str, Output],
    seconds: float,
    backend: Mapping[str, Any],
) -> Record:
    """The record of a stage that has just ended, from the one it started with."""
    return replace(
        record, summary=dict(summary), outputs=outputs, seconds=seconds, backend=backend,
        versions=provenance.versions(), hardware=provenance.hardware(),
    )  # fmt: skip


def mark_started(workspace: Workspace, record: Record) -> None:
    """Note that a stage begins: from here on it is not done, whatever it was before."""
    started = {key: value for key, value in asdict(record).items() if key not in ("outputs", "summary")}
    atomic.write_json(workspace.path(record_path(record.key + STARTED)), started, workspace.path(layout.TMP))
    with atomic.disk_errors(workspace.path(layout.STATE)):
        workspace.path(record_path(record.key)).unlink(missing_ok=True)


def load_started(workspace: Workspace, key: str) -> dict[str, Any] | None:
    """What was noted when a stage began that has not finished, or None; a damaged note counts as none."""
    try:
        return _load(workspace, record_path(key + STARTED))
    except WorkspaceError:
        return None


def record_keys(workspace: Workspace) -> list[str]:
    """The keys of all stages that finished or began, whether or not their records can be read."""
    names = (path.name.removesuffix(".json") for path in workspace.path(layout.STATE).glob("*.json"))
    return sorted({name.removesuffix(STARTED) for name in names if not name.startswith("_")})


def list_outputs(workspace: Workspace, stage: str, instance: str, written: Iterable[str]) -> dict[str, Output]:
    """Digest what a stage left behind, and flush it to disk.

    Args:
        workspace: where.
        stage, instance: decide which patterns of `layout.OUTPUTS` apply.
        written: relative paths that the stage wrote itself; those that are gone again don't count.
    """
    names = {rel for rel in written if not rel.startswith((layout.STATE, layout.LOGS))}
    for pattern in layout.OUTPUTS.get(stage, ()):
        found = workspace.root.glob(pattern.format(instance=instance))
        names.update(path.relative_to(workspace.root).as_posix() for path in found)
    outputs = {}
    for rel in sorted(names):
        path = workspace.path(rel)
        if path.is_file():
            with atomic.disk_errors(path):
                atomic.flush(path)
            outputs[rel] = Output(path.stat().st_size, file_digest(path))
    return outputs


def missing_output(workspace: Workspace, record: Record) -> str | None:
    """The first listed file that is gone or has another size, in words, or None where all are there."""
    for rel, output in record.outputs.items():
        try:
            size = workspace.path(rel).stat().st_size
        except OSError:
            return f"{rel} is gone"
        if size != output.size:
            return f"{rel} was changed"
    return None


def _load(workspace: Workspace, rel: str) -> dict[str, Any] | None:
    key = Path(rel).name.removesuffix(".json")
    try:
        data = json.loads(workspace.path(rel).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise damaged_record(workspace, key, error) from error
    if not isinstance(data, dict):
        raise damaged_record(workspace, key, ValueError("not an object"))
    return data
