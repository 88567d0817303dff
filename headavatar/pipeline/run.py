"""Bring stages up to date: run what is missing or stale, write the record last."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headavatar.errors import (
    EnvironmentFault,
    HeadAvatarError,
    InputError,
    OutOfMemory,
    QualityGateError,
    WorkspaceError,
)
from headavatar.pipeline.plan import CURRENT, Request, Step, plan, stage_version
from headavatar.progress import Reporter, RunContext
from headavatar.workspace import Workspace, layout
from headavatar.workspace import records as rec
from headavatar.workspace import settings as st
from headavatar.workspace.atomic import DISK_ERRORS, write_error
from headavatar.workspace.config import write_config
from headavatar.workspace.discovery import resolve_name
from headavatar.workspace.lock import locked
from headavatar.workspace.runlog import RunLog


@dataclass(frozen=True)
class Outcome:
    """What became of a step: its record, and whether it ran now or was current."""

    step: Step
    record: rec.Record
    ran: bool


def run(
    workspace: Workspace,
    requests: Sequence[Request],
    *,
    reporter: Reporter,
    device: str = "auto",
    deps: bool = True,
    force: bool = False,
    resume: bool = True,
    strict: bool = False,
) -> list[Outcome]:
    """Bring the requested stages up to date.

    Args:
        workspace, requests, deps, force: as for `plan`.
        reporter: receives progress.
        device: auto, cpu or cuda.
        resume: use the work in progress of an interrupted run.
        strict: raise where a result is below its stage's gate.
    Returns:
        one outcome per step of the plan.
    Raises:
        HeadAvatarError: whatever went wrong, by its exit code.
    """
    steps = plan(workspace, requests, deps=deps, force=force)
    if any(step.state != CURRENT for step in steps):
        with locked(workspace):
            steps = plan(workspace, requests, deps=deps, force=force)  # the last holder may have done it
            device = resolve_device(device)
            outcomes = [_bring_up(workspace, step, reporter, device, resume, force) for step in steps]
    else:
        outcomes = [_bring_up(workspace, step, reporter, device, resume, force) for step in steps]
    for outcome in outcomes:
        gate = outcome.record.summary.get("below_gate") if strict else None
        if gate and outcome.step.asked:
            raise QualityGateError(
                f"{outcome.step.key} finished below the quality that --strict asks for.",
                why="; ".join(gate),
                fix="Look at the report, or run without --strict.",
            )
    return outcomes


def resolve_device(device: str) -> str:
    """Turn auto into cpu or cuda.

    Raises:
        EnvironmentFault: cuda was asked for and torch sees none.
    """
    if device == "cpu":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        built = torch.version.cuda
        raise EnvironmentFault(
            "There is no CUDA device.",
            why=f"torch {torch.__version__} " + ("sees no card" if built else "was built without CUDA") + ".",
            fix="Leave out --device, or install a driver and a CUDA build of torch; `headavatar doctor` shows both.",
        )
    return "cpu"


def _bring_up(workspace: Workspace, step: Step, reporter: Reporter, device: str, resume: bool, force: bool) -> Outcome:
    if step.note:
        reporter.info(step.note)
    if step.state == CURRENT and step.record is not None:
        return Outcome(step, step.record, ran=False)
    if step.damage is not None and not (force and step.asked):
        raise step.damage
    for name, digest in step.inputs.items():
        if not digest:
            _missing_input(name)
    return Outcome(step, _run_step(workspace, step, reporter, device, resume and not (force and step.asked)), ran=True)


def _missing_input(name: str) -> None:
    if resolve_name(name) is not None:
        raise WorkspaceError(
            f"{name} is not tracked yet.", why="Its motion is not known.", fix=f"Run `headavatar track -w {name}`."
        )
    if Path(name).is_dir():
        raise InputError(f"{name} cannot be read as a file.", why="It is a folder.", fix="Name a video.")
    raise InputError(f"{name} cannot be read.", why="There is no such file.", fix="Check the path.")


def _run_step(workspace: Workspace, step: Step, reporter: Reporter, device: str, resume: bool) -> rec.Record:
    spec, key = step.spec, step.key
    started = rec.load_started(workspace, key)
    resumes = resume and started is not None and started.get("fingerprint") == step.fingerprint
    if not resumes:
        _clear_partial(workspace, step)
        for pattern in layout.PARTIAL.get(spec.name, ()):
            shutil.rmtree(workspace.path(pattern.format(instance=step.instance)), ignore_errors=True)
    record = rec.Record(
        spec.name, step.instance, stage_version(spec, step.resolved), step.fingerprint,
        st.as_dict(step.resolved.settings), step.upstream, step.models, step.inputs,
        seed=step.resolved.seed, device=device,
    )  # fmt: skip
    write_config(workspace, spec, key, step.resolved)
    rec.mark_started(workspace, record)
    log = RunLog(workspace.path(layout.LOGS, f"{key}.log"), reporter, append=resumes)
    begun = time.monotonic()
    try:
        log.info(f"{key}: {'resumes' if resumes else 'runs'} ({step.why})")
        module, _, function = spec.run.partition(":")
        call = getattr(importlib.import_module(module), function)
        workspace.written.clear()
        context = RunContext(log, device, step.resolved.seed, resumes)
        summary = call(workspace, step.resolved.settings, context)
        seconds = round(time.monotonic() - begun, 2)
        outputs = rec.list_outputs(workspace, spec.name, step.instance, workspace.written)
        finished = rec.finish(record, summary, outputs, seconds, _backend(device))
        rec.save_record(workspace, finished)
        _clear_partial(workspace, step)
        return finished
    except KeyboardInterrupt:
        log.detail("interrupted")
        raise
    except BaseException as error:
        log.failure(error)
        readable = _readable(error, workspace)
        readable.add_note(f"log: {log.path}")
        if readable is error:
            raise
        raise readable from error
    finally:
        log.close()


def _readable(error: BaseException, workspace: Workspace) -> BaseException:
    """The error that a person should read in place of one that a library raised."""
    if isinstance(error, HeadAvatarError):
        return error
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return write_error(error, Path(error.filename) if isinstance(error.filename, str) else workspace.root)
    text = str(error)
    starved = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if starved or (isinstance(error, RuntimeError) and re.search("can't allocate memory|not enough memory", text)):
        return OutOfMemory(
            "Memory ran out.",
            why=text.splitlines()[0] if text else "The system gave no more.",
            fix="Close other programs, or take less: --preset fast, --size 256, fewer frames (--every 2).",
        )
    if isinstance(error, ImportError) and not str(getattr(error, "name", "")).startswith("headavatar"):
        return EnvironmentFault(
            f"{error.name or 'A library'} cannot be imported.", why=text, fix="See `headavatar doctor`."
        )
    return error


def _clear_partial(workspace: Workspace, step: Step) -> None:
    workspace.clear_partial(step.spec.name)
    workspace.clear_partial(step.key)


def _backend(device: str) -> dict[str, Any]:
    if "torch" not in sys.modules:  # the stage used no kernel
        return {}
    from headavatar.ops import backend

    return {"ops": backend.current(device)}
