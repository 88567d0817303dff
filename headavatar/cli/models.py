"""`headavatar models`: the pretrained networks, listed and fetched, and the user's own head models, added."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headavatar.cli.options import Json, Verbose, guarded

app = typer.Typer(help="List and fetch pretrained networks; add head models.", no_args_is_help=True)


@app.command("list")
@guarded
def list_models(json: Json = False, verbose: Verbose = False) -> None:
    """List every network and added head with its task, licence and size, and whether it is here."""
    from headavatar.cli.console import say, say_json, table
    from headavatar.pretrained.cache import digest, head_model, head_models, location
    from headavatar.pretrained.catalog import ADDED, ENTRIES

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "task": entry.task,
            "licence": entry.licence,
            "bytes": entry.bytes,
            "sha256": entry.sha256,
            "cached": location(entry).exists(),
            "opt_in": entry.opt_in,
        }
        for entry in ENTRIES.values()
    ]
    for network in ADDED.values():
        file = location(network)
        rows.append({
            "name": network.name, "task": network.task, "licence": network.licence,
            "bytes": file.stat().st_size if file.exists() else 0, "sha256": digest(file) if file.exists() else "",
            "cached": file.exists(), "opt_in": f"no registry carries it: models add {network.name} FILE",
        })  # fmt: skip
    for name in head_models():
        rows.append({
            "name": name, "task": f"head model that you added: track --set track.head={name}",
            "licence": "its file's own", "bytes": head_model(name).stat().st_size, "sha256": digest(head_model(name)),
            "cached": True, "opt_in": "",
        })  # fmt: skip
    if json:
        say_json(rows)
        return
    cells = [
        [row["name"], "here" if row["cached"] else "", f"{row['bytes'] / 1e6:.1f} MB", row["licence"], row["task"]]
        for row in rows
    ]
    say(table(cells, ["name", "", "size", "licence", "task"]))


@app.command("fetch")
@guarded
def fetch_models(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which; all that need no consent where none is named.")
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from", help="Take the network from this file instead.", metavar="FILE")
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Fetch networks, each checked by its sha256."""
    from headavatar.cli.console import say, say_json, words
    from headavatar.cli.reporter import make_reporter
    from headavatar.errors import UsageError
    from headavatar.pretrained.catalog import ENTRIES
    from headavatar.pretrained.fetch import add_from_file, fetch
    from headavatar.workspace.settings import unknown

    for name in names or ():
        if name not in ENTRIES:
            raise unknown("network", name, ENTRIES)
    if from_file is not None and len(names or ()) != 1:
        raise UsageError("--from takes one network's name.", fix="headavatar models fetch NAME --from FILE")
    chosen = names or [entry.name for entry in ENTRIES.values() if not entry.opt_in]
    paths = {}
    for name in chosen:
        if from_file is not None:
            paths[name] = add_from_file(name, from_file)
        else:
            paths[name] = fetch(name, make_reporter(words(), json, verbose))
        if not json:
            say(f"{name}  {paths[name]}")
    if json:
        say_json(paths)


@app.command("add")
@guarded
def add_model(
    kind: Annotated[str, typer.Argument(help="What the file is: flame, ict, face_normals or arcface.", metavar="KIND")],
    file: Annotated[Path, typer.Argument(help="The model's own file or folder, as generic_model.pkl.", metavar="FILE")],
    name: Annotated[str, typer.Option("--name", help="What to call it; KIND if left out.")] = "",
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Add a head model, or a network that no registry carries, from its own file; nothing in the file is run.

    Then: track --set track.head=NAME, or what `models list` says of the network.
    """
    from dataclasses import asdict

    from headavatar.cli.console import say, say_json, table
    from headavatar.head import added
    from headavatar.pretrained.catalog import ADDED

    if kind in ADDED:
        from headavatar.pretrained import arcface, face_normals

        path = {"face_normals": face_normals.add, "arcface": arcface.add}[kind](file)
        say_json({"name": kind, "path": path}) if json else say(f"{kind}  {path}")
        return
    report = added.add(kind, file, name)
    if json:
        say_json(asdict(report))
        return
    middle, far = report.distance_mm
    say(
        f"{report.name}  {report.path}\n{report.vertices:,} vertices, {report.identity_modes} identity modes; "
        f"the embedded head laid onto it is {middle:.2f} mm off, {far:.2f} mm at worst but for 5 %"
    )
    if report.residual_mm:
        worst = sorted(report.residual_mm, key=lambda shape: -report.residual_mm[shape])
        cells = [[shape, f"{report.residual_mm[shape]:.2f}", f"{report.moved_mm[shape]:.2f}"] for shape in worst]
        say(table(cells, ["expression", "unsaid, mm", "of, mm"]))
