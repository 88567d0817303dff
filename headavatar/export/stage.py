"""`export`: what was tracked and fitted, as files that other programs open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from headavatar import __version__
from headavatar.export import others, released, surface
from headavatar.export.glb import build_glb
from headavatar.export.head_mesh import morph_mesh, tracked_animation
from headavatar.export.mesh_avatar import one_texture, png
from headavatar.export.nerf_dataset import Expressed, space_of, write_dataset
from headavatar.export.settings import ExportSettings
from headavatar.methods.base import HasMesh
from headavatar.progress import RunContext
from headavatar.render.avatars import background_plate, draw, open_avatar
from headavatar.render.neutral import neutral_frame
from headavatar.render.sequences import frame_range
from headavatar.render.stage import clip_fps, counted, sized, write_video
from headavatar.scene import Array, Clip
from headavatar.workspace import Workspace, layout, load_clip, load_head

TEXTURE = "track/texture.png"

GLB_README = """glTF 2.0 binary: {file}

Axes     +y up, +z out of the face, +x to the subject's left. Unit: metre. The head's origin lies between the ears'
         height near the skull's base; at rest it stands at the scene's origin.
Targets  ARKit's 52 expressions by name, each at its full at weight 1: in three.js `mesh.morphTargetDictionary`, in
         Blender the shape keys, in Unity the blend shapes.
Rig      root > neck > jaw, eye_left, eye_right. Gaze can be had from eyeLook* or from the eye joints.
Clip     "tracked": the video's expressions as morph weights, head, neck, jaw and eyes as joint rotations.
Texture  the color seen in the video, light included, hence KHR_materials_unlit.{more}
"""

OF_AVATAR = """ Of the avatar at rest: what
         expressions and pose do to its colors is in no GLB; `headavatar export -F obj --frames A:B` writes a texture a
         frame."""

MP4_README = """MP4 of the avatar moving as tracked: H.264, yuv420p, the clip's own frame rate and camera.
"""


def run(workspace: Workspace, settings: ExportSettings, context: RunContext) -> dict[str, Any]:
    """Write one format.

    Args:
        workspace: tracked; fitted too for what shows an avatar.
        settings: format and what goes in.
        context: progress and device.
    Returns:
        format, folder and files relative to the workspace, and what the format adds.
    """
    writers = {"glb": _glb, "mp4": _mp4, "nerfblendshape": _nerfblendshape, "obj": _mesh, "ply": _mesh}
    write = writers.get(settings.format, _others)
    summary = write(workspace, settings, context)
    return {"format": settings.format, "folder": f"exports/{settings.format}", **summary}


def _glb(workspace: Workspace, settings: ExportSettings, context: RunContext) -> dict[str, Any]:
    clip, model = load_clip(workspace), load_head(workspace)
    frames = frame_range(settings.frames, len(clip))
    identity, texture, name = clip.params.identity, _texture(workspace), "head"
    of: dict[str, str] = {}
    if settings.avatar:
        opened = open_avatar(workspace, settings.avatar, context.device)
        if isinstance(opened.avatar, HasMesh):
            name, of = opened.name, {"avatar": opened.name, "method": opened.avatar.method}
            model, identity = opened.avatar.mesh().cpu(), opened.avatar.identity
            texture = png(one_texture(opened.avatar, model, clip.params))
        else:
            context.reporter.warn(f"{opened.name} is no mesh: the GLB shows the tracked head")
    mesh = morph_mesh(model, identity)
    rest = clip.params.translation[neutral_frame(clip.params)]
    joint = mesh.rig.positions[mesh.rig.names.index("neck")]
    animation = tracked_animation(clip.params[list(frames)], clip.times_s[list(frames)], rest, joint)
    video = workspace.read_json(layout.VIDEO)
    provenance = {
        "version": __version__, "head_model": model.name, **of, "expressions": "ARKit 52",
        "axes": "+y up, +z out of the face, +x to the subject's left", "unit": "metre",
        "source_digest": video.get("digest", ""), "frames": len(frames), "rest_translation_m": rest.tolist(),
    }  # fmt: skip
    data = build_glb(mesh, animation, texture, provenance)
    with workspace.replace_dir("exports/glb") as folder:
        (folder / f"{name}.glb").write_bytes(data)
        (folder / "README.txt").write_text(GLB_README.format(file=f"{name}.glb", more=OF_AVATAR if of else ""))
    return {
        "files": [f"exports/glb/{name}.glb", "exports/glb/README.txt"], **of, "bytes": len(data), "frames": len(frames),
        "vertices": len(mesh.positions), "triangles": len(mesh.faces), "targets": len(mesh.names),
    }  # fmt: skip


def _mesh(workspace: Workspace, settings: ExportSettings, context: RunContext) -> dict[str, Any]:
    return surface.export(workspace, settings, context, _texture(workspace))


def _mp4(workspace: Workspace, settings: ExportSettings, context: RunContext) -> dict[str, Any]:
    opened = open_avatar(workspace, settings.avatar, context.device)
    clip = load_clip(workspace, opened.split, opened.with_torso)
    camera = sized(clip.camera, settings.size)
    frames = frame_range(settings.frames, len(clip))
    rel = f"exports/mp4/{opened.name}.mp4"

    def pictures() -> Iterator[Array]:
        for frame in frames:
            yield draw(opened.avatar, clip.params[frame], camera, settings.background)

    with context.reporter.task("mp4", len(frames)) as task:
        write_video(workspace, rel, counted(pictures(), task), clip_fps(clip.times_s))
    workspace.write_text("exports/mp4/README.txt", MP4_README)
    return {"files": [rel, "exports/mp4/README.txt"], "frames": len(frames), "avatar": opened.name}


def _nerfblendshape(workspace: Workspace, settings: ExportSettings, context: RunContext) -> dict[str, Any]:
    clip = load_clip(workspace)
    frames = frame_range(settings.frames, len(clip))
    plate = background_plate(workspace, clip.camera)
    people = load_clip(workspace, with_torso=True).mattes
    weights = released.weights(workspace, settings.avatar, clip) if settings.avatar else None
    space, expressed = weights.place if weights else _own_or_imported(workspace, clip)
    files = ["exports/nerfblendshape/transforms.json"]
    with (
        workspace.replace_dir("exports/nerfblendshape") as folder,
        context.reporter.task("dataset", len(frames)) as task,
    ):
        about = weights.about if weights else ""
        summary = write_dataset(folder, clip, people, frames, space, expressed, plate, about, task.advance)
        if weights:
            torch.save(weights.checkpoint, folder / weights.file)
            files.append(f"exports/nerfblendshape/{weights.file}")
    return {"files": files, **summary}


def _own_or_imported(workspace: Workspace, clip: Clip) -> tuple[Array, Expressed]:
    """Space and coefficients of a data set: those of the folder that the clip was imported from, or ours."""
    tracked = workspace.read_npz(layout.PARAMS)
    if "recorded_space" in tracked:
        low, high = tracked["recorded_range"]
        names = tuple(str(name) for name in tracked["recorded_names"])
        return tracked["recorded_space"], Expressed(tracked["recorded"], low, high, names)
    model = load_head(workspace)
    identity = torch.as_tensor(clip.params.identity)
    points = model.vertices(identity, torch.zeros(1, len(model.expression_names)))[0].numpy()
    return space_of(points), Expressed.arkit(clip)


def _others(workspace: Workspace, settings: ExportSettings, context: RunContext) -> dict[str, Any]:
    name, clip = settings.format, load_clip(workspace)
    frames = frame_range(settings.frames, len(clip))
    with workspace.replace_dir(f"exports/{name}") as folder, context.reporter.task(name, len(frames)) as task:
        summary = others.write(name, folder, clip, load_head(workspace), frames, task.advance)
    return {**summary, "files": [f"exports/{name}/{file}" for file in summary["files"]]}


def _texture(workspace: Workspace) -> bytes | None:
    file = workspace.path(TEXTURE)
    return file.read_bytes() if file.exists() else None
