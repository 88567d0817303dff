"""The tracked person's head as a mesh with morph targets, and the tracked clip as its animation."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from headavatar import ops
from headavatar.export.glb import Animation, MorphMesh, Rig
from headavatar.head.model import HeadModel
from headavatar.scene import Array, HeadParams

RIG_NAMES = ("root", "neck", "jaw", "eye_left", "eye_right")
_PARENTS = (-1, 0, 1, 1, 1)


def morph_mesh(head: HeadModel, identity: Array) -> MorphMesh:
    """The head at rest, one vertex per corner of the UV map, and what each expression at 1 adds to it.

    Args:
        head: any head model whose expressions are ARKit's.
        identity: (S,).
    """
    shape = torch.as_tensor(np.asarray(identity, np.float32))
    count = len(head.expression_names)
    with torch.no_grad():
        poses = torch.cat([torch.zeros(1, count), torch.eye(count)])
        vertices = torch.cat([head.vertices(shape, pose[None]) for pose in poses]).numpy().astype(np.float64)
    rest = vertices[0]
    source, uv_index, faces = split_corners(head)
    return MorphMesh(
        positions=rest[source],
        normals=outward(rest, head.faces.numpy())[source],
        uvs=head.uvs.numpy()[uv_index],
        faces=faces,
        deltas=vertices[1:, source] - rest[source],
        names=tuple(head.expression_names),
        rig=_rig(head, identity, source),
    )


def split_corners(head: HeadModel) -> tuple[Array, Array, Array]:
    """One vertex per corner of the UV map, for formats where a vertex has one place on the texture.

    Returns:
        (N,) its vertex and (N,) its texture coordinates in the head's own arrays, and (F, 3) faces of the N.
    """
    faces, uv_faces = head.faces.cpu().numpy(), head.uv_faces.cpu().numpy()
    corners = np.stack([faces.reshape(-1), uv_faces.reshape(-1)], axis=1)
    split, inverse = np.unique(corners, axis=0, return_inverse=True)
    return split[:, 0], split[:, 1], inverse.reshape(-1, 3)


def outward(vertices: Array, faces: Array) -> Array:
    """(V, 3) unit normals of vertices; +z where a vertex has no face, since readers want none of length 0."""
    normals = ops.vertex_normals(torch.from_numpy(vertices), torch.from_numpy(faces)).numpy()
    return np.where(normals.any(1, keepdims=True), normals, [0.0, 0.0, 1.0])


def tracked_animation(params: HeadParams, times_s: Array, rest_translation: Array, neck_joint: Array) -> Animation:
    """The clip's expressions as weights, its poses as joint rotations.

    Args:
        params: T frames.
        times_s: (T,) seconds.
        rest_translation: (3,) where the head stands in the video when at rest; subtracted, so that the exported head
            moves about its own origin.
        neck_joint: (3,) rest position, head space, metres.
    """
    skull = Rotation.from_rotvec(np.asarray(params.rotation, np.float64))
    torso = skull * Rotation.from_rotvec(np.asarray(params.neck, np.float64)).inv()
    shift = skull.apply(neck_joint) - torso.apply(neck_joint)
    return Animation(
        times_s=np.asarray(times_s - times_s[0], np.float64),
        weights=params.expression,
        rotations={
            "root": quaternions(torso.as_rotvec()), "neck": quaternions(params.neck), "jaw": quaternions(params.jaw),
            "eye_left": quaternions(params.eyes[:, :3]), "eye_right": quaternions(params.eyes[:, 3:]),
        },
        translations={"root": params.translation - rest_translation + shift},
    )  # fmt: skip


def quaternions(vectors: Array) -> Array:
    """Axis-angles (T, 3) → unit quaternions (T, 4), x y z w, without jumps of sign from one frame to the next."""
    vectors = np.asarray(vectors, np.float64)
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    quats = np.concatenate([vectors * 0.5 * np.sinc(angle / (2 * np.pi)), np.cos(angle / 2)], axis=1)
    flips = np.cumprod(np.where((quats[1:] * quats[:-1]).sum(axis=1) < 0, -1.0, 1.0))
    quats[1:] *= flips[:, None]
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def _rig(head: HeadModel, identity: Array, source: Array) -> Rig:
    """Exclusive weights for root, neck, jaw and eyes from the head's nested ones, of the vertices `source`.

    Exact but for the throat, which in the head model follows the jaw outside of the neck's turn too.
    """
    nested = head.weights.numpy()[source].astype(np.float64)
    inner = nested[:, 1:]
    inner = inner / np.maximum(inner.sum(axis=1, keepdims=True), 1.0)
    neck = nested[:, :1]
    weights = np.concatenate([1 - neck, neck * (1 - inner.sum(axis=1, keepdims=True)), neck * inner], axis=1)
    joints = head.joint_positions(torch.as_tensor(np.asarray(identity, np.float32))).numpy()
    positions = np.concatenate([np.zeros((1, 3)), joints])
    return Rig(RIG_NAMES, _PARENTS, positions, weights)
