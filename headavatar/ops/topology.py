"""Which faces of a mesh share an edge, and which a vertex."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

BOUNDARY, CROWDED = -1, -2
"""In `Topology.twins`: an edge of one face, and an edge of three faces or more."""

_KEPT = 8


@dataclass(frozen=True)
class Topology:
    """Faces as kernels want them, and their neighbors. Edge k of a face lies opposite its corner k.

    Attributes:
        faces: (F, 3) int32.
        twins: (F, 3) int32: 3 g + j where edge k is edge j of face g too, else `BOUNDARY` or `CROWDED`.
        starts, around: (vertex_count + 1,) and (3 F,) int32: around[starts[v]:starts[v + 1]] are the faces at vertex v.
        vertex_count: one more than the largest index; 0 for a mesh without faces.
        oriented: whether the two faces of every edge that has two run through it in opposite directions.
    """

    faces: Tensor
    twins: Tensor
    starts: Tensor
    around: Tensor
    vertex_count: int
    oriented: bool


_recent: deque[tuple[Tensor, int, Tensor, Topology]] = deque(maxlen=_KEPT)
"""Tensors asked about, their versions, copies of them and the answers, the latest first."""


def topology(faces: Tensor) -> Topology:
    """A mesh's edges; the answers for the last few meshes are kept, so that asking again costs nothing.

    Args:
        faces: (F, 3) integer vertex indices.
    Returns:
        The topology, on the faces' device.
    Raises:
        ValueError: an index is negative.
    """
    version = -1 if faces.is_inference() else faces._version
    for asked, its_version, _, answer in tuple(_recent):
        if asked is faces and its_version == version != -1:
            return answer
    for entry in tuple(_recent):
        copy = entry[2]
        if copy.device == faces.device and copy.dtype == faces.dtype and torch.equal(copy, faces):
            answer = entry[3]
            break
    else:
        copy, answer = faces.detach().clone(), _made(faces.detach())
    _recent.appendleft((faces, version, copy, answer))
    return answer


def _made(faces: Tensor) -> Topology:
    long = faces.long()
    if long.numel() and int(long.min()) < 0:
        raise ValueError(f"faces point to vertex {int(long.min())}")
    vertex_count = int(long.max()) + 1 if long.numel() else 0
    ends = torch.stack((long[:, [1, 2, 0]], long[:, [2, 0, 1]]), -1).reshape(-1, 2).sort(-1).values
    key, order = (ends[:, 0] * vertex_count + ends[:, 1]).sort()
    _, group, counts = key.unique_consecutive(return_inverse=True, return_counts=True)
    twins = torch.full_like(key, BOUNDARY)
    twins[order[counts[group] > 2]] = CROWDED
    pairs = order[counts[group] == 2].view(-1, 2)
    twins[pairs[:, 0]], twins[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    corners = long.reshape(-1)
    first = long[:, [1, 2, 0]].reshape(-1)[pairs]
    ends_of = torch.bincount(corners, minlength=vertex_count).cumsum(0)
    starts = torch.cat((ends_of.new_zeros(1), ends_of))
    around = torch.div(corners.argsort(stable=True), 3, rounding_mode="floor")
    return Topology(
        long.int().contiguous(), twins.view(-1, 3).int(), starts.int(), around.int(), vertex_count,
        bool((first[:, 0] != first[:, 1]).all()),
    )  # fmt: skip
