"""A binary glTF 2.0 file: one skinned mesh, its morph targets by name, its texture and one animation.

glTF's space is ours: right-handed, +y up, +z out of the face, metres. Only texture coordinates differ, v pointing down.

Source: glTF 2.0 specification, Khronos Group; names of morph targets stand in `mesh.extras.targetNames`, where Blender,
three.js, Babylon, Unity's and Unreal's importers look for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pygltflib as gltf

from headavatar.scene import Array

_SMALLEST_M = 1e-6
"""Displacements below a thousandth of a millimetre are left out of sparse accessors."""

_SKIN_COLOR = [0.80, 0.62, 0.54, 1.0]


@dataclass(frozen=True)
class Rig:
    """Joints of a skin.

    Attributes:
        names: J names.
        parents: J indices, -1 for the root, parents first.
        positions: (J, 3) at rest in head space, metres.
        weights: (V, J) skinning weights, rows sum to 1, at most four of a row above 0.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    positions: Array
    weights: Array


@dataclass(frozen=True)
class MorphMesh:
    """A triangle mesh with one UV per vertex and named displacements.

    Attributes:
        positions: (V, 3) metres.
        normals: (V, 3) unit length.
        uvs: (V, 2) in [0, 1], v up.
        faces: (F, 3) counterclockwise seen from outside.
        deltas: (E, V, 3) displacement of each target at 1, metres.
        names: E names.
        rig: joints and weights.
    """

    positions: Array
    normals: Array
    uvs: Array
    faces: Array
    deltas: Array
    names: tuple[str, ...]
    rig: Rig


@dataclass(frozen=True)
class Animation:
    """Keyframes.

    Attributes:
        times_s: (T,) rising, the first 0.
        weights: (T, E).
        rotations: joint name → (T, 4) unit quaternions x y z w, relative to the parent.
        translations: joint name → (T, 3) metres, relative to the parent.
    """

    times_s: Array
    weights: Array
    rotations: dict[str, Array]
    translations: dict[str, Array]


def build_glb(
    mesh: MorphMesh, animation: Animation | None, texture_png: bytes | None, provenance: dict[str, Any]
) -> bytes:
    """Write a GLB.

    Args:
        mesh: geometry, targets and rig.
        animation: one clip, or None.
        texture_png: the color texture, drawn unlit since its light is the video's; without it, plain lit skin.
        provenance: goes to `asset.extras.headavatar`.
    Returns:
        the file's bytes.
    """
    file = gltf.GLTF2(
        asset=gltf.Asset(version="2.0", generator="headavatar", extras={"headavatar": provenance}), scene=0
    )
    pool = _Pool(file)
    joints = _add_rig(file, pool, mesh.rig)
    primitive = gltf.Primitive(
        attributes=_attributes(pool, mesh),
        indices=pool.add(mesh.faces.reshape(-1).astype(np.uint32), "SCALAR", target=gltf.ELEMENT_ARRAY_BUFFER),
        material=0,
        targets=[{"POSITION": pool.add_sparse(delta)} for delta in mesh.deltas],
    )
    file.meshes.append(
        gltf.Mesh(
            name="head",
            primitives=[primitive],
            weights=[0.0] * len(mesh.names),
            extras={"targetNames": list(mesh.names)},
        )  # fmt: skip
    )
    file.nodes.append(gltf.Node(name="head_mesh", mesh=0, skin=0))
    mesh_node = len(file.nodes) - 1
    file.scenes.append(gltf.Scene(name="headavatar", nodes=[joints[0], mesh_node]))
    _add_material(file, pool, texture_png)
    if animation is not None:
        _add_animation(file, pool, animation, mesh_node, dict(zip(mesh.rig.names, joints, strict=True)))
    data = pool.joined()
    file.buffers.append(gltf.Buffer(byteLength=len(data)))
    file.set_binary_blob(data)
    return b"".join(file.save_to_bytes())


class _Pool:
    """The one binary buffer, and the views and accessors that point into it."""

    def __init__(self, file: gltf.GLTF2) -> None:
        self.file = file
        self._parts: list[bytes] = []
        self._length = 0

    def joined(self) -> bytes:
        return b"".join(self._parts)

    def view(self, data: bytes, target: int | None = None) -> int:
        padded = data + b"\0" * (-len(data) % 4)
        self.file.bufferViews.append(
            gltf.BufferView(buffer=0, byteOffset=self._length, byteLength=len(data), target=target)
        )
        self._parts.append(padded)
        self._length += len(padded)
        return len(self.file.bufferViews) - 1

    def add(self, values: Array, kind: str, *, target: int | None = None, bounds: bool = False) -> int:
        """An accessor over a dense array; its dtype decides the component type."""
        flat = values.reshape(len(values), -1)
        accessor = gltf.Accessor(
            bufferView=self.view(np.ascontiguousarray(values).tobytes(), target),
            componentType=_COMPONENTS[values.dtype.type], count=len(values), type=kind,
            min=flat.min(axis=0).tolist() if bounds else None, max=flat.max(axis=0).tolist() if bounds else None,
        )  # fmt: skip
        self.file.accessors.append(accessor)
        return len(self.file.accessors) - 1

    def add_sparse(self, delta: Array) -> int:
        """A VEC3 accessor that stores only the rows that move; all others are zero."""
        moved = np.flatnonzero(np.abs(delta).max(axis=1) > _SMALLEST_M)
        values = delta[moved].astype(np.float32)
        low, high = np.zeros(3, np.float32), np.zeros(3, np.float32)
        accessor = gltf.Accessor(byteOffset=None, componentType=gltf.FLOAT, count=len(delta), type="VEC3")
        if len(moved):
            if len(moved) < len(delta):
                low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
            else:
                low, high = values.min(axis=0), values.max(axis=0)
            accessor.sparse = gltf.Sparse(
                count=len(moved),
                indices=gltf.AccessorSparseIndices(
                    bufferView=self.view(moved.astype(np.uint32).tobytes()), componentType=gltf.UNSIGNED_INT
                ),
                values=gltf.AccessorSparseValues(bufferView=self.view(values.tobytes())),
            )
        accessor.min, accessor.max = low.tolist(), high.tolist()
        self.file.accessors.append(accessor)
        return len(self.file.accessors) - 1


_COMPONENTS = {np.float32: gltf.FLOAT, np.uint32: gltf.UNSIGNED_INT, np.uint16: gltf.UNSIGNED_SHORT}


def _attributes(pool: _Pool, mesh: MorphMesh) -> gltf.Attributes:
    order = np.argsort(-mesh.rig.weights, axis=1, kind="stable")[:, :4]
    if order.shape[1] < 4:
        order = np.pad(order, ((0, 0), (0, 4 - order.shape[1])))
    weights = np.take_along_axis(mesh.rig.weights, order, axis=1).astype(np.float64)
    weights[:, mesh.rig.weights.shape[1] :] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    joints = np.where(weights > 0, order, 0).astype(np.uint16)  # an unused slot must name joint 0
    uvs = np.stack([mesh.uvs[:, 0], 1.0 - mesh.uvs[:, 1]], axis=1)
    vertex = gltf.ARRAY_BUFFER
    return gltf.Attributes(
        POSITION=pool.add(mesh.positions.astype(np.float32), "VEC3", target=vertex, bounds=True),
        NORMAL=pool.add(mesh.normals.astype(np.float32), "VEC3", target=vertex),
        TEXCOORD_0=pool.add(uvs.astype(np.float32), "VEC2", target=vertex),
        JOINTS_0=pool.add(joints, "VEC4", target=vertex),
        WEIGHTS_0=pool.add(weights.astype(np.float32), "VEC4", target=vertex),
    )


def _add_rig(file: gltf.GLTF2, pool: _Pool, rig: Rig) -> list[int]:
    """Joint nodes, translated only at rest, and the skin; returns the nodes' indices."""
    first = len(file.nodes)
    for name, parent, position in zip(rig.names, rig.parents, rig.positions, strict=True):
        offset = position - rig.positions[parent] if parent >= 0 else position
        file.nodes.append(gltf.Node(name=name, translation=[float(x) for x in offset]))
        if parent >= 0:
            file.nodes[first + parent].children.append(len(file.nodes) - 1)
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(rig.names), 1, 1))
    inverse[:, 3, :3] = -rig.positions  # column-major, so the translation is the last row here
    joints = list(range(first, first + len(rig.names)))
    file.skins.append(
        gltf.Skin(name="rig", inverseBindMatrices=pool.add(inverse, "MAT4"), skeleton=joints[0], joints=joints)
    )
    return joints


def _add_material(file: gltf.GLTF2, pool: _Pool, texture_png: bytes | None) -> None:
    if texture_png is None:
        look = gltf.PbrMetallicRoughness(baseColorFactor=_SKIN_COLOR, metallicFactor=0.0, roughnessFactor=0.8)
        file.materials.append(gltf.Material(name="skin", pbrMetallicRoughness=look))
        return
    file.images.append(gltf.Image(name="texture", mimeType="image/png", bufferView=pool.view(texture_png)))
    file.samplers.append(
        gltf.Sampler(
            magFilter=gltf.LINEAR,
            minFilter=gltf.LINEAR_MIPMAP_LINEAR,
            wrapS=gltf.CLAMP_TO_EDGE,
            wrapT=gltf.CLAMP_TO_EDGE,
        )  # fmt: skip
    )
    file.textures.append(gltf.Texture(source=0, sampler=0))
    look = gltf.PbrMetallicRoughness(
        baseColorTexture=gltf.TextureInfo(index=0), metallicFactor=0.0, roughnessFactor=0.9
    )
    file.materials.append(gltf.Material(name="skin", pbrMetallicRoughness=look, extensions={"KHR_materials_unlit": {}}))
    file.extensionsUsed.append("KHR_materials_unlit")


def _add_animation(file: gltf.GLTF2, pool: _Pool, animation: Animation, mesh_node: int, joints: dict[str, int]) -> None:
    times = pool.add(animation.times_s.astype(np.float32), "SCALAR", bounds=True)
    clip = gltf.Animation(name="tracked")

    def channel(node: int, path: str, output: int) -> None:
        clip.samplers.append(gltf.AnimationSampler(input=times, output=output, interpolation=gltf.ANIM_LINEAR))
        target = gltf.AnimationChannelTarget(node=node, path=path)
        clip.channels.append(gltf.AnimationChannel(sampler=len(clip.samplers) - 1, target=target))

    channel(mesh_node, "weights", pool.add(animation.weights.astype(np.float32).reshape(-1), "SCALAR"))
    for name, values in animation.rotations.items():
        channel(joints[name], "rotation", pool.add(values.astype(np.float32), "VEC4"))
    for name, values in animation.translations.items():
        channel(joints[name], "translation", pool.add(values.astype(np.float32), "VEC3"))
    file.animations.append(clip)
