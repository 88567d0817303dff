"""`report`: one HTML file that shows a workspace, whatever it has so far."""

from __future__ import annotations

from importlib import resources
from typing import Any

from headavatar import __version__
from headavatar.errors import WorkspaceError
from headavatar.progress import RunContext
from headavatar.render.avatars import avatar_names
from headavatar.report import sections
from headavatar.report.settings import ReportSettings
from headavatar.workspace import Workspace, layout, provenance
from headavatar.workspace.records import Record, load_record, record_keys

FILE = "reports/index.html"


def run(workspace: Workspace, settings: ReportSettings, context: RunContext) -> dict[str, Any]:
    """Write the report.

    Args:
        workspace: preprocessed at least; what else it has is shown.
        settings: how much to show.
        context: progress and device.
    Returns:
        files, bytes, sections shown, and the parts that could not be read.
    """
    import jinja2

    records = _records(workspace, context)
    tracked = any(record.stage == "track" for record in records)
    done = {record.instance for record in records if record.stage == "fit"}
    names = [name for name in avatar_names(workspace) if name in done]
    left_out: list[str] = []
    with context.reporter.task("report", 3 + len(names)) as task:
        page: dict[str, Any] = {
            "name": workspace.name,
            "version": __version__,
            "source": sections.source(workspace),
            "frames": sections.frames(workspace, settings.frames),
            "masks": sections.masks(workspace),
            "has_normals": workspace.path(layout.NORMALS).is_dir(),
            "stages": sections.stages(records),
            "hardware": _line(provenance.hardware()),
            "versions": _line(provenance.versions()),
            "track": None,
            "avatars": [],
        }
        task.advance(2)
        if tracked:
            page["track"] = sections.track(workspace)
        task.advance()
        for name in names:
            try:
                page["avatars"].append(sections.avatar(workspace, name, context.device, settings.holdout))
            except WorkspaceError as error:
                context.reporter.warn(f"avatar {name} is left out: {error.what}")
                left_out.append(name)
            task.advance()
    page["sections"] = [
        ("frames", "Video and frames"),
        *([("track", "Tracking")] if tracked else []),
        *((f"avatar-{avatar['name']}", f"Avatar {avatar['name']}") for avatar in page["avatars"]),
        ("runs", "Runs"),
    ]
    source = resources.files("headavatar.report").joinpath("template.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.from_string(source).render(page)
    workspace.write_text(FILE, html)
    return {
        "files": [FILE], "bytes": len(html.encode()), "sections": [title for _, title in page["sections"]],
        "left_out": left_out,
    }  # fmt: skip


def _records(workspace: Workspace, context: RunContext) -> list[Record]:
    """The finished stages, in the order in which a video walks through them; a damaged record is passed over."""
    order = ["preprocess", "track", "fit", "eval", "render", "reenact", "export"]
    found = []
    for key in record_keys(workspace):
        try:
            record = load_record(workspace, key)
        except WorkspaceError as error:
            context.reporter.warn(error.what)
            continue
        if record is not None and record.stage in order:
            found.append(record)
    return sorted(found, key=lambda record: (order.index(record.stage), record.instance))


def _line(values: dict[str, Any]) -> str:
    return " · ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
