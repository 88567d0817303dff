"""Energies of a displaced mesh: what keeps it smooth, unfolded and near the head model where the pictures say nothing.

Lengths enter in millimeters, so that an energy of about 1 means about a millimeter.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...head import HeadModel

SMOOTHNESS = {
    "neck": 1.0, "ears": 50.0, "sockets": 100.0, "eyelids": 100.0, "mouth_interior": 100.0,
}  # fmt: skip
"""How much smoother than the rest offsets are to be in some regions, the later one where they overlap.

Source: Grassal et al. 2022, supplement, weights of the Laplacian term: eye region 100; its ears' 500 and neck's 5 are a
tenth and a fifth here, so that long hair may widen them rather than the cheeks. The cavity of the mouth, which no
picture shows, counts as the eye region does; the paper's half weight of the nose is left out, as no region of ours is
the nose."""

LONGEST = 1.5
"""Edges of the scalp may be this much longer than their mean. Source: Grassal et al. 2022, supplement, edge term."""

_MM = 1000.0


def region_weights(head: HeadModel, multipliers: Mapping[str, float] = SMOOTHNESS) -> Tensor:
    """Weights of vertices by their regions.

    Args:
        head: V vertices.
        multipliers: region -> weight; the later one wins, and 1 where there is none. Regions that a head lacks are
            passed over.
    Returns:
        (V,).
    """
    weights = torch.ones(head.vertex_count, device=head.template.device)
    for name, value in multipliers.items():
        if name in head.regions:
            weights[head.regions[name].to(weights.device)] = value
    return weights


def laplacian_energy(offsets: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """How much offsets differ from the mean of their neighbors'.

    Args:
        offsets: (V, 3) meters.
        edges: (E, 2) each once.
        weights: (V,).
    Returns:
        () mean over vertices of weight times squared difference, mm².
    Source: Grassal et al. 2022, section 3.4, the Laplacian term: uniform Laplacian, offsets against no offsets.
    """
    start, end = edges.T
    total = torch.zeros_like(offsets).index_add(0, start, offsets[end]).index_add(0, end, offsets[start])
    degree = torch.bincount(edges.reshape(-1), minlength=len(offsets)).clamp_min(1)
    difference = (offsets - total / degree[:, None]) * _MM
    return (weights * difference.square().sum(1)).mean()


def edge_energy(vertices: Tensor, rest: Tensor, edges: Tensor, longest: float = LONGEST) -> Tensor:
    """How much edges have grown beyond `longest` times what all have on average; a spike is made of such edges.

    Lengths count as shares of what they were, so that a mesh whose edges differ at rest, as the embedded head's do, is
    not pulled together where they are long.

    Args:
        vertices: (V, 3) meters, offsets inside.
        rest: (V, 3) without offsets.
        edges: (E, 2) those that count, say the scalp's.
    Returns:
        () mean over edges of the squared excess, in units of the mean growth.
    Source: Grassal et al. 2022, section 3.4 and supplement, the edge term; shares of the rest length are ours.
    """
    growth = _lengths(vertices, edges) / _lengths(rest, edges)
    return (growth / growth.detach().mean() - longest).clamp_min(0).square().mean()


def _lengths(vertices: Tensor, edges: Tensor) -> Tensor:
    return (vertices[edges[:, 0]] - vertices[edges[:, 1]]).square().sum(1).clamp_min(1e-12).sqrt()


def surface_energy(offsets: Tensor, weights: Tensor) -> Tensor:
    """How far vertices stand off the head model.

    Args:
        offsets: (V, 3) meters.
        weights: (V,).
    Returns:
        () mean over vertices of weight times squared offset, mm².
    Source: Grassal et al. 2022, section 3.4, the surface term.
    """
    return (weights * (offsets * _MM).square().sum(1)).mean()


def flip_energy(vertices: Tensor, rest: Tensor, faces: Tensor, least: float = 0.1) -> Tensor:
    """How far faces have turned over or shrunk to nothing.

    A face's area, seen along the normal that it has without offsets, is to stay above a share of what it was; it is 0
    where the face has turned by 90 degrees, and negative beyond. Area and turn in one term keep the gradient finite
    where a face becomes a sliver.

    Args:
        vertices: (V, 3) meters, offsets inside.
        rest: (V, 3) without offsets.
        faces: (F, 3).
        least: share of the area below which a face costs something.
    Returns:
        () mean over faces of the shortage, squared up to 1 and linear beyond.
    """
    flat, was = _flat(vertices, faces), _flat(rest, faces)
    share = (flat * was).sum(1) / was.square().sum(1).clamp_min(1e-20)
    short = (least - share).clamp_min(0)
    # linear beyond a whole turned face, so that a few needles of the rest shape do not outweigh all others
    return torch.where(short < 1, short.square(), 2 * short - 1).mean()


def flipped(vertices: Tensor, rest: Tensor, faces: Tensor) -> Tensor:
    """(F,) bool: whose normal turned by more than 90 degrees; arguments as `flip_energy`."""
    return (_flat(vertices, faces) * _flat(rest, faces)).sum(1) < 0


def _flat(vertices: Tensor, faces: Tensor) -> Tensor:
    """(F, 3) normals, as long as twice the area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return torch.linalg.cross(b - a, c - a)
