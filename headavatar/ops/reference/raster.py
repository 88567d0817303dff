"""Mesh rasterisation in plain torch.

Source: M. Olano, T. Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997. With corners
h = (x z, y z, z), the edge functions e_i(p) = p . (h_j x h_k) are, divided by their sum, the perspective-correct
barycentric coordinates of pixel p = (x, y, 1), and det(h) / sum e is the depth. Nothing has to be clipped. They are
evaluated as z_j z_k times the edge function in the picture's plane, which for usual pixel coordinates is exact in
double precision, so that faces that meet at an edge or a corner agree on whose a pixel is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CANDIDATES = 1 << 22


@dataclass(frozen=True)
class Candidates:
    """Faces that may cover pixels' centres.

    Attributes:
        index: (N,) which faces.
        edges: (N, 3, 3), scale: (N, 3), determinant: (N,) double: edge functions in the picture's plane, turned so that
            the inside is positive, their factors and the determinants, without signs.
        x0, y0, columns, area: (N,) the first pixel of each one's box, its width and how many pixels it has.
    """

    index: Tensor
    edges: Tensor
    scale: Tensor
    determinant: Tensor
    x0: Tensor
    y0: Tensor
    columns: Tensor
    area: Tensor


def candidates(vertices: Tensor, faces: Tensor, height: int, width: int, near: float, cull: bool) -> Candidates:
    """The faces that are worth looking at; arguments as of `visible_faces`."""
    edges, scale, determinant = _edge_functions(vertices[faces].double())
    x0, x1, y0, y1 = _boxes(vertices[faces].double(), height, width, near)
    keep = (x1 >= x0) & (y1 >= y0) & torch.isfinite(edges).all(-1).all(-1) & torch.isfinite(determinant)
    keep &= (determinant < 0) if cull else (determinant != 0)
    index = keep.nonzero()[:, 0]
    sign = determinant[index].sign()[:, None] * scale[index].sign()
    columns = x1[index] - x0[index] + 1
    return Candidates(
        index, edges[index] * sign[..., None], scale[index].abs(), determinant[index].abs(), x0[index], y0[index],
        columns, columns * (y1[index] - y0[index] + 1),
    )  # fmt: skip


def visible_faces(
    vertices: Tensor, faces: Tensor, height: int, width: int, layers: int, near: float, cull: bool
) -> Tensor:
    """The nearest faces at each pixel's centre.

    Args:
        vertices: (V, 3) x y in pixels, z in metres.
        faces: (F, 3) vertex indices.
        height, width: picture size, pixels.
        layers: how many faces at a pixel.
        near: surfaces nearer than this are not drawn, metres.
        cull: leave out faces seen from behind.
    Returns:
        (K, H, W) int32 face indices, nearest first, -1 where there is none.
    """
    images = torch.full((layers, height * width), -1, dtype=torch.int32, device=vertices.device)
    drawn = candidates(vertices, faces, height, width, near, cull)
    index, area = drawn.index, drawn.area
    if len(index) == 0:
        return images.view(layers, height, width)
    total = area.cumsum(0)
    steps = torch.arange(0, int(total[-1]) + _CANDIDATES, _CANDIDATES, device=vertices.device)
    cuts = torch.searchsorted(total, steps, right=True).unique_consecutive().tolist()
    depth_before = torch.full((height * width,), -torch.inf, dtype=torch.float64, device=vertices.device)
    for layer, image in enumerate(images):
        nearest = torch.full_like(depth_before, torch.inf)
        for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
            part = slice(start, stop)
            face, pixel, depth = _covered(part, drawn, width, near)
            if layer:  # what comes after the layer before
                here, before = index[face], images[layer - 1, pixel]
                after = (depth > depth_before[pixel]) | ((depth == depth_before[pixel]) & (here > before))
                face, pixel, depth = face[after], pixel[after], depth[after]
            best = nearest.scatter_reduce(0, pixel, depth, "amin")
            candidate = depth == best[pixel]
            # Of faces at equal depth the lowest index wins, also against those of earlier pieces, which all are lower.
            candidate &= depth < nearest[pixel]
            chosen = torch.full_like(image, torch.iinfo(torch.int32).max)
            chosen = chosen.scatter_reduce(0, pixel[candidate], index[face[candidate]].int(), "amin")
            image.copy_(torch.where(best < nearest, chosen, image))
            nearest = best
        depth_before = nearest
    return images.view(layers, height, width)


def _edge_functions(corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of (F, 3, 3) corners: planar edge functions (F, 3 edges, 3), their factors (F, 3) and determinants (F,)."""
    xj, yj, zj = corners[:, [1, 2, 0]].unbind(-1)
    xk, yk, zk = corners[:, [2, 0, 1]].unbind(-1)
    edges = torch.stack((yj - yk, xk - xj, xj * yk - xk * yj), -1)
    scale = zj * zk
    area = (edges[:, 0, 2] + edges[:, 1, 2]) + edges[:, 2, 2]
    return edges, scale, scale[:, 0] * corners[:, 0, 2] * area


def _boxes(corners: Tensor, height: int, width: int, near: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The pixels whose centres may lie in each face's part beyond the near plane: first and last column and row."""
    z = corners[..., 2]
    in_front = z > near
    crossing = in_front.any(-1) & ~in_front.all(-1)
    low = torch.where(in_front[..., None], corners[..., :2], torch.inf).amin(1)
    high = torch.where(in_front[..., None], corners[..., :2], -torch.inf).amax(1)
    if crossing.any():
        some = corners[crossing]
        following = some[:, [1, 2, 0]]
        z_from, z_to = some[..., 2:], following[..., 2:]
        mix = (near - z_from) / (z_to - z_from)
        cut = (some[..., :2] * z_from * (1 - mix) + following[..., :2] * z_to * mix) / near
        cuts = ((z_from > near) != (z_to > near)).expand_as(cut)
        low[crossing] = torch.minimum(low[crossing], torch.where(cuts, cut, torch.inf).amin(1) - 1)
        high[crossing] = torch.maximum(high[crossing], torch.where(cuts, cut, -torch.inf).amax(1) + 1)
    limits = torch.tensor([width, height], dtype=low.dtype, device=low.device)
    first = (low - 0.5).ceil().nan_to_num(nan=torch.inf).maximum(torch.zeros_like(limits)).minimum(limits).long()
    last = (high - 0.5).floor().nan_to_num(nan=-torch.inf).clamp_min(-1).minimum(limits - 1).long()
    return first[:, 0], last[:, 0], first[:, 1], last[:, 1]


def _covered(part: slice, drawn: Candidates, width: int, near: float) -> tuple[Tensor, Tensor, Tensor]:
    """Faces, pixels and depths of all (face, pixel) pairs that some faces cover."""
    area, columns = drawn.area, drawn.columns
    counts = area[part]
    face = torch.repeat_interleave(torch.arange(len(counts), device=area.device), counts) + part.start
    offset = torch.arange(len(face), device=area.device) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    row = torch.div(offset, columns[face], rounding_mode="floor")
    x = offset - row * columns[face] + drawn.x0[face]
    y = row + drawn.y0[face]
    a, b, c = drawn.edges[face].unbind(-1)
    value = a * (x + 0.5)[:, None] + b * (y + 0.5)[:, None] + c
    # A pixel exactly on an edge belongs to one of the two faces that share it: their coefficients differ in sign only.
    inside = ((value > 0) | ((value == 0) & ((a > 0) | ((a == 0) & (b > 0))))).all(-1)
    value = value * drawn.scale[face]
    depth = drawn.determinant[face] / ((value[:, 0] + value[:, 1]) + value[:, 2])
    inside &= depth > near
    return face[inside], (y * width + x)[inside], depth[inside]


def barycentrics(vertices: Tensor, faces: Tensor, face_index: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentric coordinates and depths of the visible faces, differentiable in the vertices.

    Args:
        vertices: (V, 3) x y in pixels, z in metres.
        faces: (F, 3).
        face_index: (K, H, W), -1 where nothing is seen.
    Returns:
        bary (K, H, W, 3) and depth (K, H, W), zero where nothing is seen.
    """
    seen = face_index >= 0
    layer, rows, columns = seen.nonzero(as_tuple=True)
    edges, scale, determinant = _edge_functions(vertices[faces[face_index[seen].long()]].double())
    pixel = torch.stack((columns + 0.5, rows + 0.5, torch.ones_like(rows)), -1).double()
    value = (edges * pixel[:, None]).sum(-1) * scale
    total = value.sum(-1)
    at = (layer, rows, columns)
    bary = vertices.new_zeros(*face_index.shape, 3).index_put(at, (value / total[:, None]).to(vertices.dtype))
    depth = vertices.new_zeros(face_index.shape).index_put(at, (determinant / total).to(vertices.dtype))
    return bary, depth


def interpolate(attributes: Tensor, faces: Tensor, face_index: Tensor, bary: Tensor) -> Tensor:
    """Attributes (B, V, C) at the visible points (B, H, W): (B, H, W, C), zero where nothing is seen."""
    seen = face_index >= 0
    frames = seen.nonzero()[:, 0]
    corners = attributes[frames[:, None], faces[face_index[seen].long()]]
    values = (corners * bary[seen][..., None]).sum(1)
    return attributes.new_zeros(*face_index.shape, attributes.shape[-1]).masked_scatter(seen[..., None], values)
