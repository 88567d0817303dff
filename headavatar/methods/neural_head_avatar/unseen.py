"""Colors for what no training picture showed, as the back of the head: spread over the surface from what was seen."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import splu
from torch import Tensor

from ... import ops
from ...scene import Array
from .drawing import Layout
from .stack import Stack

EDGE = (0.25, 0.4)
"""How far from the unseen back colors count for nothing, and from where on fully: those between were seen at a grazing
angle only, and are smeared. In half lengths of the head's longest side."""
FAITH = 10.0
"""How strongly a seen vertex holds its own color, over a neighbor's pull."""
WHOLE = 1 - 1e-3
"""Share from which on a place is said to be read from reached texels only."""
KIND = 0.02
"""Pull to the mean color of what was seen of the same region behind: hair for the scalp, skin for the neck."""
LEAST = 1e-6
"""Pull to the mean color, which surfaces without a seen vertex take."""


def filled(picture: Tensor, layout: Layout, stack: Stack, fragments: ops.Fragments) -> Tensor:
    """A texture whose unseen texels continue the colors around them along the surface.

    Args:
        picture: (S, S, 3) colors in the UV layout, row 0 at v = 1, also beyond the edges of what faces use.
        layout: of the head.
        stack: that the colors are of; it knows which texels training reached.
        fragments: (S, S) the faces in the UV layout.
    Returns:
        (S, S, 3); texels well within what was seen are as before.
    """
    reached = stack.reached()
    if bool(reached.all()) or not bool(reached.any()):
        return picture
    colors, trust = _at_vertices(picture, layout, stack)
    if not trust.any():
        return picture
    regions = [region.cpu().numpy() for region in layout.behind]
    spread = torch.from_numpy(np.column_stack([_spread(colors, trust, _edges(layout), regions), trust])).to(picture)
    there = ops.interpolate(spread, layout.faces, fragments)
    uv = ops.interpolate(layout.uvs, layout.uv_faces, fragments).view(-1, 2)
    known = ops.sample_maps(stack.reached().float()[..., None], uv).view(fragments.mask.shape) > WHOLE
    share = torch.where(fragments.mask, there[..., 3] * known, 1.0)[..., None]
    return picture * share + there[..., :3] * (1 - share)


def _at_vertices(picture: Tensor, layout: Layout, stack: Stack) -> tuple[Array, Array]:
    """(V, 3) the colors at vertices, and (V,) in [0, 1] how far they can be trusted."""
    faces, corners = layout.faces.reshape(-1).cpu().numpy(), layout.uv_faces.reshape(-1)
    uv, count = layout.uvs[corners], len(layout.coordinates)
    found = ops.sample_maps(picture, uv).cpu().numpy().astype(np.float64)
    # a vertex's color comes of the texels around it, which mix those of the tables' next ones in
    inner = -torch.nn.functional.max_pool2d(-stack.reached().float()[None], 3, 1, 1)[0]
    reached = ops.sample_maps(inner[..., None], uv)[:, 0].cpu().numpy() > WHOLE
    uses = np.maximum(np.bincount(faces, minlength=count), 1)
    colors = np.stack([np.bincount(faces, found[:, c], count) for c in range(3)], 1) / uses[:, None]
    seen = np.bincount(faces, ~reached, count) == 0
    back = np.flatnonzero(~seen & sum(layout.behind, torch.zeros_like(layout.still)).bool().cpu().numpy())
    if not len(back):
        return colors, seen.astype(np.float64)
    low, high = EDGE
    inwards = dijkstra(_edges(layout), indices=back, min_only=True, limit=high)
    trust = np.clip((np.minimum(inwards, high) - low) / (high - low), 0, 1)
    return colors, np.where(layout.still.cpu().numpy(), seen, trust * seen)


def _edges(layout: Layout) -> sparse.csr_matrix:
    """(V, V) lengths of the mesh's edges."""
    faces, places = layout.faces.cpu().numpy(), layout.coordinates.cpu().numpy().astype(np.float64)
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, 1), axis=0)
    lengths = np.maximum(np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1), 1e-6)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    return sparse.csr_matrix((np.tile(lengths, 2), (both[:, 0], both[:, 1])), shape=(len(places),) * 2)


def _spread(colors: Array, trust: Array, edges: sparse.csr_matrix, regions: list[Array]) -> Array:
    """(V, 3) the smoothest colors over the mesh that hold to the trusted ones, unseen ones near their region's."""
    tug = edges.copy()
    tug.data = edges.data.mean() / edges.data
    held = FAITH * trust
    wanted, holds = held[:, None] * colors, held + LEAST
    wanted += LEAST * (trust[:, None] * colors).sum(0) / max(trust.sum(), 1e-9)
    for region in regions:
        known = (region * trust).sum()
        if known > 0:
            share = KIND * region * (1 - trust)
            wanted += np.outer(share, (trust * region) @ colors / known)
            holds = holds + share
    system = sparse.diags(np.asarray(tug.sum(1))[:, 0] + holds) - tug
    return np.asarray(splu(system.tocsc()).solve(wanted))
