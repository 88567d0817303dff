"""What every stage verb does: find the workspace, plan, run, print a line per stage and the next command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headavatar import pipeline
from headavatar.cli import summary
from headavatar.cli.console import libraries_write_to, say, say_json, table, tell, words
from headavatar.cli.options import Common
from headavatar.cli.reporter import duration, make_reporter
from headavatar.errors import UsageError
from headavatar.pipeline import Outcome, Request
from headavatar.workspace import Workspace, layout
from headavatar.workspace.discovery import find_workspace


def open_workspace(common: Common) -> Workspace:
    """The workspace that the command line means."""
    return Workspace.open(find_workspace(common.workspace))


def requests(common: Common, chosen: Mapping[str, Mapping[str, Any]], kept: Sequence[str] = ()) -> list[Request]:
    """What the command line asks for.

    Args:
        common: its options; `--set` joins the values of the stage that it names, or of the only one that has the key.
        chosen: stage → values of the verb's own options; None stands for not given.
        kept: stages of `chosen` that are not asked for, only given settings.
    Raises:
        UsageError: a `--set` without =, or a stage that does not exist.
    """
    values = {stage: {k: v for k, v in given.items() if v is not None} for stage, given in chosen.items()}
    asked = [stage for stage in chosen if stage not in kept]
    for text in common.set or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text} has no value.", fix="Write --set KEY=VALUE.")
        stage, key = _stage_of(name.strip(), asked)
        values.setdefault(stage, {})[key] = value.strip()
    return [Request(stage, given, common.preset, common.seed, asked=stage in asked) for stage, given in values.items()]


def bring_up(workspace: Workspace, common: Common, wanted: Sequence[Request], *, next_command: str = "") -> None:
    """Run what is wanted and print what came of it.

    Args:
        workspace: where.
        common: the command line's options.
        wanted: from `requests`.
        next_command: the verb that usually follows, printed at the end.
    """
    if common.dry_run:
        print_plan(workspace, common, wanted)
        return
    outcomes = execute(workspace, common, wanted)
    results = [outcome for outcome in outcomes if outcome.step.asked]
    if common.json:
        rows = [as_json(workspace, outcome) for outcome in results]
        say_json(rows[0] if len(rows) == 1 else {"workspace": str(workspace.root), "stages": rows})
        return
    for outcome in outcomes:
        if outcome.step.asked or outcome.ran:
            say(line(outcome))
    for outcome in results:
        for path in summary.files(outcome.record):
            say(f"  {shown(workspace.path(path))}")
    if next_command and not common.quiet:
        tell(f"next: headavatar {next_command}{where(workspace)}")


def execute(workspace: Workspace, common: Common, wanted: Sequence[Request]) -> list[Outcome]:
    """Run the pipeline with progress on stderr, and what libraries print there in a log."""
    log = workspace.path(layout.LOGS, "libraries.log")
    with libraries_write_to(log):
        return pipeline.run(
            workspace,
            wanted,
            reporter=make_reporter(words(), common.quiet, common.verbose),
            device=common.device,
            deps=not common.no_deps,
            force=common.force,
            resume=common.resume,
            strict=common.strict,
        )


def print_plan(workspace: Workspace, common: Common, wanted: Sequence[Request]) -> None:
    """Say what would run, and why."""
    steps = pipeline.plan(workspace, wanted, deps=not common.no_deps, force=common.force)
    if common.json:
        say_json(
            [
                {"stage": step.key, "state": step.state, "why": step.why, "runs": step.state != "current"}
                for step in steps
            ]
        )
        return
    say(
        table([[step.key, "skip" if step.state == "current" else "run", step.why] for step in steps], ["stage", "", ""])
    )


def line(outcome: Outcome) -> str:
    """One stage in a line: what came out, in what time, how good."""
    record = outcome.record
    time_taken = duration(record.seconds) if outcome.ran else "current"
    return "  ".join(part for part in (record.key.ljust(20), time_taken.rjust(12), summary.figures(record)) if part)


def as_json(workspace: Workspace, outcome: Outcome) -> dict[str, Any]:
    """One stage for scripts: what it returned, and how it was made."""
    record = outcome.record
    return {
        **record.summary,
        "stage": record.stage,
        "workspace": str(workspace.root),
        "ran": outcome.ran,
        "seconds": record.seconds,
        "seed": record.seed,
        "device": record.device,
        "backend": record.backend,
        "hardware": record.hardware,
        "versions": record.versions,
    }


def where(workspace: Workspace) -> str:
    """The -w that the next command needs here, or nothing where it finds the workspace itself."""
    try:
        if find_workspace().resolve() == workspace.root.resolve():
            return ""
    except Exception:  # several or none: it has to be named
        pass
    return f" -w {shown(workspace.root)}"


def shown(path: Path) -> str:
    """A path as short as it can be from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _stage_of(name: str, asked: Sequence[str]) -> tuple[str, str]:
    stage, dot, key = name.partition(".")
    if dot:
        pipeline.stage_spec(stage)
        return stage, key
    if len(asked) == 1:
        return asked[0], name
    having = [stage for stage in asked if name in _known_fields(stage)]
    if len(having) == 1:
        return having[0], name
    raise UsageError(
        f"--set {name}: which stage is meant?",
        why=f"{', '.join(having)} have it." if having else f"None of {', '.join(asked)} has it.",
        fix=f"Write --set {having[0] if having else 'STAGE'}.{name}=VALUE.",
    )


def _known_fields(stage: str) -> set[str]:
    from headavatar.workspace import settings as st

    spec = pipeline.stage_spec(stage)
    defaults = st.resolve(spec, None, 0, {}).settings
    return set(st.fields_of(spec, spec.extension(defaults)))
