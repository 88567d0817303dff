"""Avatars that are textured meshes as OBJ and PLY: their own faces, at rest, with an expression, or as they move."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import trimesh
from trimesh.exchange.ply import export_ply

from headavatar.export.head_mesh import outward, split_corners
from headavatar.export.obj import write_obj
from headavatar.head import HeadModel
from headavatar.head.model import to_world
from headavatar.methods.base import HasMesh
from headavatar.render.neutral import rest_of
from headavatar.scene import Array, HeadParams

ABOUT = """The avatar's own mesh. A texture shows the face with the expression and pose that its mesh has; light is the
video's. In OBJ each mesh has its material and texture, NAME.mtl and NAME.png; in PLY the texture's color at each
vertex. Of a file per frame, frame_NUMBER counts usable frames of the clip, and the head moves as tracked, about
rest_translation_m in mesh.json, which is subtracted.
"""


INSIDE = ("mouth_interior", "teeth", "tongue")
"""Regions that show when the mouth is open."""


@dataclass(frozen=True)
class Posed:
    """A mesh to be written.

    Attributes:
        name: of its file, without suffix.
        params: one frame (T = 1), of the shape.
        seen: one frame, of the colors.
        moved: whether it is turned and shifted as these say; else it stands in head space, the neck unturned.
        about: what mesh.json says of it.
    """

    name: str
    params: HeadParams
    seen: HeadParams
    moved: bool
    about: dict[str, Any]


def of_frames(params: HeadParams, frames: Iterable[int], rest_translation: Array) -> Iterable[Posed]:
    """A clip's frames, the head about its own origin.

    Args:
        params: of the clip.
        frames: which of them.
        rest_translation: (3,) world space, metres: what becomes the origin.
    """
    for frame in frames:
        shown = params[frame]
        moved = replace(shown, translation=shown.translation - np.asarray(rest_translation, np.float32))
        yield Posed(f"frame_{frame:06d}", moved, shown, True, {"frame": frame})


def write(
    folder: Path, kind: str, avatar: HasMesh, wanted: Iterable[Posed], progress: Callable[[], None]
) -> list[dict[str, Any]]:  # fmt: skip
    """Write meshes.

    Args:
        folder: empty and existing.
        kind: "obj", each with its material and texture, or "ply", with vertex colors.
        avatar: whose.
        wanted: which.
        progress: called once per mesh.
    Returns:
        for each its file, vertices, triangles, and `about`.
    """
    head, rows = avatar.mesh(), []  # faces and UVs are alike in all frames
    source, uv_index, split_faces = split_corners(head)
    faces, uvs = head.faces.cpu().numpy(), head.uvs.cpu().numpy()
    for posed in wanted:
        shape = avatar.mesh(posed.seen) if posed.moved else head
        vertices = vertices_of(shape, avatar.identity, posed.params, moved=posed.moved)
        file = folder / f"{posed.name}.{kind}"
        if kind == "obj":
            uv_faces, png = head.uv_faces.cpu().numpy(), texture_png(avatar, posed.seen)
            write_obj(
                folder, posed.name, vertices, uvs, faces, uv_faces, png, material=posed.name, texture=posed.name
            )  # fmt: skip
            count = len(vertices)
        else:
            mesh = trimesh.Trimesh(
                vertices[source], split_faces, vertex_colors=colors_at(avatar.texture(posed.seen), uvs[uv_index]),
                vertex_normals=outward(vertices.astype(np.float64), faces)[source], process=False,
            )  # fmt: skip
            file.write_bytes(export_ply(mesh, vertex_normal=True))
            count = len(source)
        rows.append({"file": file.name, **posed.about, "vertices": count, "triangles": len(faces)})
        progress()
    return rows


def vertices_of(head: HeadModel, identity: Array, params: HeadParams, *, moved: bool) -> Array:
    """A head's vertices in one frame.

    Args:
        head: the model.
        identity: (S,).
        params: one frame (T = 1), of the shape.
        seen: one frame, of the colors.
        moved: in world space; else in head space with the neck unturned.
    Returns:
        (V, 3) float32 metres.
    """
    place = head.template
    expression, rotation, translation, neck, jaw, eyes = (
        torch.as_tensor(np.asarray(part, np.float32)).to(place)
        for part in (params.expression, params.rotation, params.translation, params.neck, params.jaw, params.eyes)
    )
    person = torch.as_tensor(np.asarray(identity, np.float32)).to(place)
    with torch.no_grad():
        vertices = head.vertices(person, expression, neck if moved else None, jaw, eyes)
        shown = to_world(vertices, rotation, translation) if moved else vertices
    return np.asarray(shown[0].cpu().numpy())


def texture_png(avatar: HasMesh, params: HeadParams) -> bytes:
    """An avatar's texture as a PNG file, in one frame (T = 1)."""
    return png(avatar.texture(params))


def png(picture: Array) -> bytes:
    """(H, W, 3) uint8 RGB as a PNG file."""
    return bytes(cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1])


def one_texture(avatar: HasMesh, head: HeadModel, clip: HeadParams) -> Array:
    """The texture for a mesh whose expressions all share one: the resting face, and the mouth as it looks when open.

    No picture shows what is in a closed mouth, so its colors at rest are nobody's.

    Args:
        avatar: whose.
        head: its mesh.
        clip: all frames of the clip.
    Returns:
        (S, S, 3) uint8.
    """
    rest = rest_of(clip)
    names = list(head.expression_names)
    opening = clip.expression[:, names.index("jawOpen")] - clip.expression[:, names.index("mouthClose")]
    widest = replace(rest, expression=clip.expression[[int(opening.argmax())]])
    closed, opened = avatar.texture(rest), avatar.texture(widest)
    inside = torch.stack([head.regions[name] for name in INSIDE if name in head.regions]).any(0)
    faces = head.uv_faces[inside.to(head.faces.device)[head.faces].all(1)].cpu().numpy()
    uvs = head.uvs.cpu().numpy()
    corners = np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1) * closed.shape[1::-1] - 0.5
    mask = np.zeros(closed.shape[:2], np.uint8)
    for triangle in np.round(corners[faces]).astype(np.int32):
        cv2.fillConvexPoly(mask, triangle, 1)
    return np.where(mask[..., None] > 0, opened, closed)


def colors_at(texture: Array, uvs: Array) -> Array:
    """Colors of a texture at points of it, bilinear.

    Args:
        texture: (S, S, 3) uint8, row 0 at v = 1.
        uvs: (N, 2) in [0, 1], v up.
    Returns:
        (N, 3) uint8.
    """
    side = np.array(texture.shape[1::-1])
    place = (np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1) * side - 0.5).astype(np.float32)
    seen = cv2.remap(texture, place[None, :, 0], place[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen[0])
