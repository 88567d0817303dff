"""Long hair beside the neck: a sheet that hangs from within the scalp, where the head itself has no surface."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree

from ...head import HeadModel
from ...head.landmarks import LIPS_OUTER
from ...head.store import HeadData
from ...scene import PARSING_CLASSES, Array, Clip

REGION = "curtain"
COLUMNS, ROWS = 45, 15
FRONT = np.radians(20.0)
"""How far the sheet's front edges lie before the middle of the ears, as an angle about the head's axis."""
ROOM = 0.14
"""Share of the texture that the sheet takes; the head's own layout shrinks by it."""
LONG = 0.03
"""Hair below the mouth that covers this share of the hair seen counts as long."""
_TUCKED = 0.93
_FRAMES = 24


def is_long(clip: Clip) -> bool:
    """Whether hair hangs beside the neck in a clip's training frames, by their parsing."""
    return share_below(clip) > LONG


def share_below(clip: Clip) -> float:
    """Share of the hair that lies lower than the lips, over some training frames; 0 where no hair is seen."""
    hair, below = 0, 0
    for i in map(int, clip.split.train[:: max(1, len(clip.split.train) // _FRAMES)]):
        lips = clip.landmarks[i, list(LIPS_OUTER), 1]
        if not np.isfinite(lips).all():
            continue
        seen = (np.asarray(clip.parsing[i]) == PARSING_CLASSES.index("hair")) & (np.asarray(clip.mattes[i]) > 127)
        hair += int(seen.sum())
        below += int(seen[int(np.clip(lips.max(), 0, len(seen))) :].sum())
    return below / hair if hair else 0.0


def with_curtain(head: HeadModel) -> HeadModel:
    """The same head with a sheet of quads around its back, from within the hair over the ears to the neck's end.

    It moves with the skull, takes after the person as the scalp next to it does, and has a strip of the texture.

    Args:
        head: subdivided; its regions "ears", "scalp" and "neck" say where the sheet hangs.
    """
    template = head.template.cpu().numpy()
    regions = {name: mask.cpu().numpy() for name, mask in head.regions.items()}
    points = _sheet(template, regions)
    count, new = len(template), len(points)
    anchors = np.flatnonzero(regions["scalp"])
    away, near = cKDTree(template[anchors]).query(points, 8)
    share = 1 / (away + 0.01) ** 2
    share /= share.sum(1, keepdims=True)
    basis = head.identity_basis.cpu().numpy()
    follows = np.einsum("sncd,nc->snd", basis[:, anchors[near]], share)
    grid = np.arange(new).reshape(ROWS, COLUMNS)
    cells = np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], -1).reshape(-1, 4)
    u, v = np.meshgrid(np.linspace(1 - ROOM + 0.01, 0.995, ROWS), np.linspace(0.005, 0.995, COLUMNS), indexing="ij")
    uvs, uv_quads = head.uvs.cpu().numpy() * [1 - ROOM, 1], head.uv_quads.cpu().numpy()
    still = np.zeros((len(head.expression_names), new, 3), np.float32)
    turns = head.jaw_turn(torch.eye(len(head.expression_names), device=head.template.device))
    data = HeadData(
        name=head.name, template=np.concatenate([template, points]).astype(np.float32),
        identity_basis=np.concatenate([basis, follows], 1).astype(np.float32),
        expression_basis=np.concatenate([head.expression_basis.cpu().numpy(), still], 1),
        expression_names=head.expression_names, quads=np.concatenate([head.quads.cpu().numpy(), count + cells]),
        uvs=np.concatenate([uvs, np.stack([u, v], -1).reshape(-1, 2)]).astype(np.float32),
        uv_quads=np.concatenate([uv_quads, len(uvs) + cells]),
        weights=np.concatenate([head.weights.cpu().numpy(), np.eye(1, 4, dtype=np.float32).repeat(new, 0)]),
        joints=head.joint_template.cpu().numpy(), joint_basis=head.joint_basis.cpu().numpy(),
        regions={name: np.concatenate([mask, np.zeros(new, bool)]) for name, mask in regions.items()}
        | {REGION: np.arange(count + new) >= count},
        landmark_faces=head.landmark_faces.cpu().numpy(), landmark_bary=head.landmark_bary.cpu().numpy(),
        mirror=np.concatenate([head.mirror.cpu().numpy(), count + grid[:, ::-1].reshape(-1)]),
        jaw_turns=np.zeros((len(head.expression_names), 3), np.float32) if turns is None else turns.cpu().numpy(),
    )  # fmt: skip
    return HeadModel(data).to(head.template.device)


def _sheet(template: Array, regions: dict[str, Array]) -> Array:
    """(ROWS * COLUMNS, 3) rows from the top down, columns from the left ear around the back to the right one."""
    ears, scalp, neck = (template[regions[name]] for name in ("ears", "scalp", "neck"))
    middle = ears[:, 2].mean()
    wide, deep = np.abs(scalp[:, 0]).max(), middle - scalp[:, 2].min()
    top, bottom = ears[:, 1].max(), neck[:, 1].min() - 0.03
    angles = np.linspace(FRONT, -np.pi - FRONT, COLUMNS)
    ring = np.stack([wide * np.cos(angles), np.zeros(COLUMNS), middle + deep * np.sin(angles)], 1)
    axis = np.array([0, 0, middle])
    rows = []
    for height in np.linspace(0, 1, ROWS):
        size = _TUCKED + (1 - _TUCKED) * min(1.0, 4 * height)
        rows.append(axis + (ring - axis) * size + [0, top + (bottom - top) * height, 0])
    return np.concatenate(rows)
