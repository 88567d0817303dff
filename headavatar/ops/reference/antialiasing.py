"""Silhouette anti-aliasing in plain torch. Source: S. Laine et al. 2020, section 3.4."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 64
"""Faces that a surface is followed over between two pixels."""


def antialias(
    picture: Tensor, face_index: Tensor, depth: Tensor, vertices: Tensor, faces: Tensor, twins: Tensor
) -> Tensor:
    """`ops.antialias` on batches."""
    height, width = face_index.shape[1:]
    blended = picture
    for axis in (0, 1):  # pairs side by side, then one above the other
        frame, row, column = _pairs(face_index, axis)
        first = (frame * height + row) * width + column
        second = first + (1 if axis == 0 else width)
        pixel = torch.stack((column, row), -1) + 0.5
        near_second = _distance(face_index, depth, second) < _distance(face_index, depth, first)
        one, two = face_index.flatten()[first].long(), face_index.flatten()[second].long()
        with torch.no_grad():
            edge = _silhouettes(
                torch.where(near_second, two, one), torch.where(near_second, one, two), frame, pixel.double(),
                near_second, axis, vertices.detach().double(), faces.long(), twins.long(),
            )  # fmt: skip
        found = edge >= 0
        frame, first, second = frame[found], first[found], second[found]
        pixel, ends = pixel[found].double(), _ends(faces.long(), edge[found])
        at, slope = crossing(vertices, frame, ends, pixel, axis)
        weight = (pixel[:, axis] + 0.5 - at).to(picture.dtype)[:, None]
        # Each piece of a silhouette counts once: a flat edge for pixels above each other, a steep one for those side
        # by side.
        weight = weight * (slope.abs() <= 1 if axis == 0 else slope.abs() < 1)[:, None]
        colors = picture.flatten(0, 2)
        target = torch.where(weight[:, 0] > 0, first, second)
        part = weight * (colors[second] - colors[first])
        blended = blended.flatten(0, 2).index_add(0, target, part).view_as(picture)
    return blended


def _pairs(face_index: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, rows and columns of the first pixels of pairs that see different faces."""
    if axis == 0:
        different = face_index[:, :, 1:] != face_index[:, :, :-1]
    else:
        different = face_index[:, 1:] != face_index[:, :-1]
    frame, row, column = different.nonzero(as_tuple=True)
    return frame, row, column


def _distance(face_index: Tensor, depth: Tensor, at: Tensor) -> Tensor:
    return torch.where(face_index.flatten()[at] >= 0, depth.flatten()[at], torch.inf)


def _ends(faces: Tensor, edge: Tensor) -> Tensor:
    """Vertices (N, 2) of edges 3 f + k."""
    face, corner = edge // 3, edge % 3
    return torch.stack((faces[face, (corner + 1) % 3], faces[face, (corner + 2) % 3]), -1)


def crossing(vertices: Tensor, frame: Tensor, ends: Tensor, pixel: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Where edges (N, 2) cross the row (axis 0) or column (axis 1) of a pixel's center: x or y, and its slope, (N,)."""
    a, b = vertices[frame, ends[:, 0], :2].double(), vertices[frame, ends[:, 1], :2].double()
    across = 1 - axis
    slope = (b[:, axis] - a[:, axis]) / (b[:, across] - a[:, across])
    return a[:, axis] + (pixel[:, across] - a[:, across]) * slope, slope


def _silhouettes(
    face: Tensor, other: Tensor, frame: Tensor, pixel: Tensor, backwards: Tensor, axis: int, vertices: Tensor,
    faces: Tensor, twins: Tensor,
) -> Tensor:  # fmt: skip
    """The edges 3 f + k in which the surfaces of `face` end before the pixels of `other`, -1 where they do not."""
    result = torch.full_like(face, -1)
    line = pixel[:, 1 - axis]
    # The nearer surface is at the pair's first pixel, or at its second and followed backwards.
    to = pixel.clone()
    to[:, axis] += ~backwards
    active = torch.arange(len(face), device=face.device)
    entered = torch.full_like(face, -1)
    for _ in range(STEPS):
        if not len(active):
            break
        f = face[active]
        corners = vertices[frame[active, None], faces[f]]
        above = corners[:, :, 1 - axis] > line[active, None]
        # Of the two edges that cross the line it is left by the one that was not entered. Where it starts, the way in
        # which the corners run says which: seen along the row, the edge ahead goes up if they run counter-clockwise.
        turns = _side(corners[:, 0], corners[:, 1], corners[:, 2]) > 0
        rising = turns == (backwards[active] == (axis == 1))
        edge, a, b, opposite = torch.full_like(f, -1), corners[:, 0], corners[:, 0], corners[:, 0]
        for k in range(3):
            start, end = (k + 1) % 3, (k + 2) % 3
            leaves = torch.where(entered[active] < 0, above[:, end] == rising, 3 * f + k != entered[active])
            leaves &= (above[:, start] != above[:, end]) & (edge < 0)
            edge = torch.where(leaves, 3 * f + k, edge)
            a, b, opposite = (
                torch.where(leaves[:, None], corners[:, n], old) for n, old in ((start, a), (end, b), (k, opposite))
            )
        here = _side(a, b, opposite)
        alive = (edge >= 0) & (_side(a, b, to[active]) * here <= 0) & (corners[..., 2] > 0).all(-1)
        active, edge, a, b, here = active[alive], edge[alive], a[alive], b[alive], here[alive]
        twin = twins.flatten()[edge]
        there = _side(a, b, vertices[frame[active], faces.flatten()[twin.clamp_min(0)]])
        crosses = (twin >= 0) & (twin // 3 != other[active])  # else the other pixel sees the surface itself, further on
        ending = (twin == -1) | (crosses & (here * there > 0))
        result[active[ending]] = edge[ending]
        onward = crosses & ~ending
        active, twin = active[onward], twin[onward]
        entered[active], face[active] = twin, twin // 3
    return result


def _side(a: Tensor, b: Tensor, point: Tensor) -> Tensor:
    """Twice the signed area of a, b and a point, each (N, 2 or more)."""
    along, to = (b - a)[:, :2], point[:, :2] - a[:, :2]
    return along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0]
