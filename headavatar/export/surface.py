"""Heads as PLY and OBJ: the avatar's own mesh or skin, with the colors it is seen in, or the tracked head model's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply

from headavatar.errors import UsageError
from headavatar.export import mesh_avatar
from headavatar.export.mesh_avatar import Posed
from headavatar.export.obj import write_obj
from headavatar.export.settings import ExportSettings
from headavatar.head.model import HeadModel
from headavatar.methods.base import Avatar, HasMesh, HasSurface
from headavatar.progress import RunContext
from headavatar.render.avatars import Opened, open_avatar
from headavatar.render.cameras import seats
from headavatar.render.expressions import Handles
from headavatar.render.neutral import neutral_frame, rest_of
from headavatar.render.sequences import frame_range
from headavatar.scene import Array, Clip, HeadParams, Surface
from headavatar.workspace import Workspace, load_clip, load_head

BASE = "head"
"""Name of the file with the face that was asked for; the others are called after their expression."""
OBJ_HEADER = "headavatar: metres, +y up, +z out of the face"
README = """{what}

head.{kind}     the face at rest, or with the expressions that were asked for
NAME.{kind}     the same with the expression NAME, where all were asked for
mesh.json   unit, axes, and each file's expressions

Metres, +y up, +z out of the face, +x to the subject's left; origin between the ears' height near the skull's base.
{more}"""
_AVATAR = """The avatar's surface lies where half of the light from the clip's cameras has been stopped. It is known
where they looked. What they never saw, sides and back, is a smooth closed surface of its own that goes on below it; it
is a guess, and an avatar that was fitted without one has no back. Colors are of the video, light included: vertex
colors, in OBJ as three more numbers of each v.
"""
_HEAD = """The tracked head model; texture.png beside an OBJ is the color seen in the video, light included.
"""


def export(
    workspace: Workspace, settings: ExportSettings, context: RunContext, texture_png: bytes | None
) -> dict[str, Any]:
    """Write exports/ply or exports/obj.

    Args:
        workspace: tracked; fitted too where the avatar's surface is meant.
        settings: `format` is "ply" or "obj".
        context: progress and device.
        texture_png: of the tracked head, or None.
    Returns:
        files relative to the workspace, vertices and triangles of the first mesh, and how many meshes.
    Raises:
        UsageError: an expression does not exist, the voxels are of an odd size, or the method has no surface.
    """
    kind, rel, voxel_m = settings.format, f"exports/{settings.format}", settings.voxel_mm / 1000
    if not 0.5 <= settings.voxel_mm <= 10:
        raise UsageError(f"Voxels of {settings.voxel_mm} mm are not possible.", why="0.5 … 10 mm are.")
    opened = open_avatar(workspace, settings.avatar, context.device) if settings.of_avatar else None
    if opened and isinstance(opened.avatar, HasMesh):
        return _of_mesh(workspace, settings, context, opened)
    if opened and settings.mesh == "auto" and kind == "obj":
        opened = None
    head = load_head(workspace)
    handles = Handles.of(opened.avatar) if opened else _handles_of(head)
    wanted = poses(handles, settings.expression, settings.all_expressions)
    for note in handles.beyond(wanted[BASE]):
        context.reporter.warn(note)
    with workspace.replace_dir(rel) as folder, context.reporter.task("mesh", len(wanted)) as task:
        if opened:
            clip = load_clip(workspace, opened.split, opened.with_torso)
            about = {"avatar": opened.name, "method": opened.avatar.method, "voxel_m": voxel_m}
            meshes = avatar_surfaces(opened.avatar, clip, wanted, voxel_m)
            summary = write_avatar(folder, kind, meshes, wanted, about, task.advance)
        else:
            identity = load_clip(workspace).params.identity
            summary = write_head(folder, kind, head, identity, wanted, texture_png, task.advance)
        files = sorted(f"{rel}/{file.name}" for file in folder.iterdir())
    return {"files": files, **({"avatar": opened.name} if opened else {}), **summary}


def _of_mesh(workspace: Workspace, settings: ExportSettings, context: RunContext, opened: Opened) -> dict[str, Any]:
    """Write an avatar that is a mesh."""
    avatar: Any = opened.avatar
    kind, rel, clip = settings.format, f"exports/{settings.format}", load_clip(workspace, opened.split)
    about: dict[str, Any] = {"avatar": opened.name, "method": avatar.method}
    if settings.frames:
        frames = frame_range(settings.frames, len(clip))
        origin = clip.params.translation[neutral_frame(clip.params)]
        wanted = list(mesh_avatar.of_frames(clip.params, frames, origin))
        about["rest_translation_m"] = origin.tolist()
    else:
        handles = _handles_of(avatar.mesh())
        rest, usual = HeadParams.neutral(1, avatar.identity, len(handles.names)), rest_of(clip.params)
        wanted = [
            Posed(name, handles.put(rest, values), handles.put(usual, values), False, {"expression": values})
            for name, values in poses(handles, settings.expression, settings.all_expressions).items()
        ]
    with workspace.replace_dir(rel) as folder, context.reporter.task("mesh", len(wanted)) as task:
        rows = mesh_avatar.write(folder, kind, avatar, wanted, task.advance)
        summary = _finish(folder, kind, "The avatar's mesh", mesh_avatar.ABOUT, rows, about)
        files = sorted(f"{rel}/{file.name}" for file in folder.iterdir())
    return {"files": files, "avatar": opened.name, **summary}


def poses(handles: Handles, text: str, every: bool) -> dict[str, dict[str, float]]:
    """What to write: file name → expressions.

    Args:
        handles: what can be set; of an avatar, each to its highest of training.
        text: expressions of all files, as in jawOpen=0.6.
        every: a file per expression as well.
    Raises:
        UsageError: the text names an expression that does not exist.
    """
    values = handles.parse(text)
    found = {BASE: values}
    if every:
        found |= {handles.names[i]: {**values, handles.names[i]: float(handles.high[i])} for i in handles.moving}
    return found


def avatar_surfaces(
    avatar: Avatar, clip: Clip, wanted: dict[str, dict[str, float]], voxel_m: float
) -> Iterable[tuple[str, Surface]]:  # fmt: skip
    """The avatar's skin with each expression.

    Args:
        avatar: of a method that has surfaces.
        clip: that it was fitted to.
        wanted: from `poses`.
        voxel_m: how fine, metres.
    Raises:
        UsageError: the method has no surface, or nothing solid is there.
    """
    if not isinstance(avatar, HasSurface):
        raise UsageError(
            f"An avatar of {avatar.method} has no surface of its own.", why="That method gives pictures only.",
            fix="Add --mesh head for the tracked head's.",
        )  # fmt: skip
    handles, rest = Handles.of(avatar), rest_of(clip.params)
    places = seats(clip)
    for name, values in wanted.items():
        surface = avatar.surface(handles.put(rest, values), places, voxel_m)
        if len(surface.faces) == 0:
            raise UsageError(
                f"No surface was found for {name}.", why="The avatar is transparent there.", fix="Fit it longer."
            )
        yield name, surface


def write_avatar(
    folder: Path, kind: str, surfaces: Iterable[tuple[str, Surface]], wanted: dict[str, dict[str, float]],
    about: dict[str, Any], progress: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Write surfaces with vertex colors.

    Args:
        folder: empty and existing.
        kind: "ply" or "obj".
        surfaces: names and meshes.
        wanted: the names' expressions, for the record.
        about: what else mesh.json says.
        progress: called once per file.
    Returns:
        how many vertices and triangles the first one has.
    """
    rows = []
    for name, surface in surfaces:
        colors = np.round(np.clip(surface.colors, 0, 1) * 255).astype(np.uint8)
        mesh = trimesh.Trimesh(surface.vertices, surface.faces, vertex_colors=colors, process=False)
        file = folder / f"{name}.{kind}"
        if kind == "ply":
            file.write_bytes(export_ply(mesh, vertex_normal=True))
        else:
            file.write_text(
                export_obj(mesh, include_normals=True, header="headavatar: metres, +y up, +z out of the face")
            )
        rows.append(_row(file.name, wanted[name], len(surface.vertices), len(surface.faces)))
        progress()
    return _finish(folder, kind, "The avatar's surface", _AVATAR, rows, about)


def write_head(
    folder: Path, kind: str, head: HeadModel, identity: Array, wanted: dict[str, dict[str, float]],
    texture_png: bytes | None, progress: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Write the tracked head model's surface, in OBJ with UVs and texture; arguments as of `write_avatar`."""
    rows = []
    for name, values in wanted.items():
        expression = torch.zeros(1, len(head.expression_names))
        for key, value in values.items():
            expression[0, list(head.expression_names).index(key)] = value
        with torch.no_grad():
            vertices = head.vertices(torch.as_tensor(identity), expression)[0].numpy()
        faces = head.faces.numpy()
        if kind == "ply":
            mesh = trimesh.Trimesh(vertices, faces, process=False)
            (folder / f"{name}.ply").write_bytes(export_ply(mesh, vertex_normal=True))
        else:
            write_obj(folder, name, vertices, head.uvs.numpy(), faces, head.uv_faces.numpy(), texture_png)
        rows.append(_row(f"{name}.{kind}", values, len(vertices), len(faces)))
        progress()
    return _finish(folder, kind, "The tracked head", _HEAD, rows, {"head_model": head.name})


def _handles_of(head: HeadModel) -> Handles:
    names = tuple(head.expression_names)
    return Handles(names, np.zeros(len(names)), np.ones(len(names)))


def _row(file: str, values: dict[str, float], vertices: int, faces: int) -> dict[str, Any]:
    return {"file": file, "expression": values, "vertices": vertices, "triangles": faces}


def _finish(
    folder: Path, kind: str, what: str, more: str, rows: list[dict[str, Any]], about: dict[str, Any]
) -> dict[str, Any]:
    record = {
        "unit": "metre", "axes": "+y up, +z out of the face, +x to the subject's left",
        "winding": "counterclockwise from outside", **about, "meshes": rows,
    }  # fmt: skip
    (folder / "mesh.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "README.txt").write_text(README.format(what=what, kind=kind, more=more))
    return {"vertices": rows[0]["vertices"], "triangles": rows[0]["triangles"], "meshes": len(rows)}
