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
    sign = torch.where(backwards, -1.0, 1.0).to(pixel.dtype)
    start = pixel[:, axis] + backwards
    active = torch.arange(len(face), device=face.device)
    entered = torch.full_like(face, -1)
    for _ in range(STEPS):
        if not len(active):
            break
        f, b = face[active], frame[active]
        corners = vertices[b[:, None], faces[f]]
        above = corners[:, :, 1 - axis] > line[active, None]
        best = torch.full_like(sign[active], -torch.inf)
        edge = torch.full_like(f, -1)
        for k in range(3):
            ends = torch.stack((faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]), -1)
            along = sign[active] * (crossing(vertices, b, ends, pixel[active], axis)[0] - start[active])
            further = (above[:, (k + 1) % 3] != above[:, (k + 2) % 3]) & (3 * f + k != entered[active]) & (along > best)
            best, edge = torch.where(further, along, best), torch.where(further, 3 * f + k, edge)
        alive = (edge >= 0) & (best <= 1) & (corners[..., 2] > 0).all(-1)
        active, edge = active[alive], edge[alive]
        twin = twins.flatten()[edge]
        ends = vertices[frame[active, None], _ends(faces, edge), :2]
        here = _side(ends, vertices[frame[active], faces.flatten()[edge], :2])
        there = _side(ends, vertices[frame[active], faces.flatten()[twin.clamp_min(0)], :2])
        crosses = (twin >= 0) & (twin // 3 != other[active])  # else the other pixel sees the surface itself, further on
        ending = (twin == -1) | (crosses & (here * there > 0))
        result[active[ending]] = edge[ending]
        onward = crosses & ~ending
        active, twin = active[onward], twin[onward]
        entered[active], face[active] = twin, twin // 3
    return result


def _side(ends: Tensor, point: Tensor) -> Tensor:
    """Twice the signed area of edges (N, 2, 2) and points (N, 2)."""
    along, to = ends[:, 1] - ends[:, 0], point - ends[:, 0]
    return along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0]
