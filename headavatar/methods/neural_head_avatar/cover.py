"""Colors for what no training picture showed face on: spread over the surface from what was seen.

The rim of hair is soft, so where training saw a surface at a grazing angle only, its texture holds thin hair over a
white background. Turned to the front it would be a white band, and the back of the head, never seen, gray.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from ... import ops
from ...ops.baked import COVERED
from ...scene import Array
from .drawing import Layout
from .stack import Stack
from .texture import Places, Texture

KNOWN = (0.2, 0.4)
"""How face on training must have seen a vertex for its color to be believed a little, and fully."""
SOLID = (0.85, 0.97)
"""The same of opacity."""
ALONE = (0.5, 0.9)
"""The same of the share of frames in which it was seen without a background."""
MORE = 0.05
"""How much more face on than in training a vertex is seen before its color gives way; twice that where no background
showed."""
NEVER = 9.0
FAITH = 10.0
"""How strongly a believed vertex holds its own color, over a neighbor's pull."""
KIND = 0.02
"""Pull to the usual color of what is believed of the same region behind: hair for the scalp, skin for the neck."""
LEAST = 1e-6
"""Pull to the mean color, which surfaces without a believed vertex take."""


@dataclass(frozen=True)
class Cover:
    """What lies over the texture where a surface is seen more face on than the texture knows it.

    Attributes:
        colors: (V, 3) RGB, not clamped.
        begins: (V,) cosine between normal and view from which on it shows, fully `ops.baked.COVERED` above that.
        usual: (K,) what the texture was told of the frame that the colors are of.
        moves: (K, R, 3) what each coefficient adds to the colors of a region, as it does in the mean to those believed
            of it; of a texture that is not linear None.
        region: (V,) each vertex's.
    """

    colors: Tensor
    begins: Tensor
    usual: Tensor
    moves: Tensor | None
    region: Tensor

    def at(self, told: Tensor) -> Cover:
        """The cover of a frame of which the texture is told these (K,) coefficients: the room's light changes."""
        if self.moves is None:
            return self
        change = torch.einsum("k,krc->rc", told - self.usual, self.moves)
        return replace(self, colors=self.colors + change[self.region], usual=told)

    @property
    def packed(self) -> Tensor:
        """(V, 4) as `ops.shade_baked` takes it."""
        return torch.cat([self.colors, self.begins[:, None]], 1).contiguous()

    def shares(self, facing: Tensor) -> Tensor:
        """(B, V) how much of it shows of vertices seen at these cosines (B, V)."""
        return ((facing - self.begins) / COVERED).clamp(0, 1)


@torch.no_grad()
def cover_of(
    layout: Layout, look: Texture | Stack, told: Tensor, normals: Tensor, facing: Tensor, alone: Tensor
) -> Cover:  # fmt: skip
    """The cover of a fitted head.

    Args:
        layout: of the head.
        look: what gives colors.
        told: (1, K) what it is told of a usual frame.
        normals: (V, 3) unit, camera space, of that frame.
        facing, alone: (V,) of `Views`.
    """
    colors = _at_vertices(layout, look, look.prepare(told), normals)
    known = _rise(facing, KNOWN) * _rise(colors[:, 3], SOLID) * _rise(alone, ALONE)
    regions = [region.cpu().numpy() for region in layout.behind]
    spread = _spread(
        colors[:, :3].double().cpu().numpy(), known.double().cpu().numpy(), _edges(layout), regions
    )  # fmt: skip
    begins = facing + MORE * (1 + _rise(alone, ALONE)) + known
    begins[layout.inner & (facing > 0)] = NEVER
    region = torch.zeros(len(known), dtype=torch.long, device=known.device)
    for number, mask in enumerate(layout.behind, 1):
        region[mask] = number
    moves = _moves(layout, look, known, region) if isinstance(look, Stack) else None
    return Cover(torch.from_numpy(spread).to(colors), begins, told[0], moves, region)


def _moves(layout: Layout, stack: Stack, known: Tensor, region: Tensor) -> Tensor:
    """(K, R, 3) what each coefficient of a stack adds to the colors believed of a region; the base's is always 1."""
    vertices, corners = layout.faces.reshape(-1), layout.uv_faces.reshape(-1)
    moves = stack.tables.new_zeros(len(stack.tables), 1 + len(layout.behind), 3)
    maps = stack.maps()[1]
    laid = maps.permute(1, 2, 0, 3).reshape(*maps.shape[1:3], -1)
    for number in range(moves.shape[1]):
        used = (region[vertices] == number) & (known[vertices] > 0)
        if len(maps) and bool(used.any()):
            weights = known[vertices[used]]
            found = ops.sample_maps(laid, layout.uvs[corners][used]).view(-1, *maps.shape[::3])
            moves[1:, number] = (weights[:, None, None] * found[..., :3]).sum(0) / weights.sum()
    return moves


def laid_over(picture: Tensor, layout: Layout, cover: Cover, fragments: ops.Fragments) -> Tensor:
    """A texture of colors alone as it looks seen face on everywhere.

    Args:
        picture: (S, S, 3) colors in the UV layout.
        layout: of the head.
        cover: of the head.
        fragments: (S, S) the faces in the UV layout.
    """
    shares = cover.shares(torch.ones_like(cover.begins)[None])[0, :, None]
    there = ops.interpolate(torch.cat([cover.colors, shares], 1), layout.faces, fragments)
    share = torch.where(fragments.mask, there[..., 3], 0.0)[..., None]
    return picture * (1 - share) + there[..., :3] * share


def _rise(values: Tensor, ends: tuple[float, float]) -> Tensor:
    return ((values - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)


def _at_vertices(layout: Layout, look: Texture | Stack, prepared: Any, normals: Tensor) -> Tensor:
    """(V, 4) the texture's color and opacity at vertices; where it has a seam, the mean of both sides."""
    vertices, corners = layout.faces.reshape(-1), layout.uv_faces.reshape(-1)
    places = Places(
        layout.uvs[corners], layout.coordinates[vertices], normals[vertices], layout.in_mouth.repeat_interleave(3)
    )  # fmt: skip
    found = look.colors([places], prepared)[0]
    found = torch.cat([found, torch.ones_like(found[:, :1])], 1)[:, :4].clamp(0, 1)
    total = found.new_zeros(len(layout.coordinates), 4).index_add(0, vertices, found)
    uses = torch.bincount(vertices, minlength=len(total)).clamp_min(1)
    return total / uses[:, None]


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
            wanted += np.outer(share, _median(colors, trust * region))
            holds = holds + share
    system = sparse.diags(np.asarray(tug.sum(1))[:, 0] + holds) - tug
    return np.asarray(splu(system.tocsc()).solve(wanted))


def _median(colors: Array, weights: Array) -> Array:
    """(3,) the weighted median of each channel of (N, 3) colors."""
    order = np.argsort(colors, axis=0)
    total = np.cumsum(weights[order], axis=0)
    middle = (total < total[-1] / 2).sum(0)
    found: Array = np.take_along_axis(colors, np.take_along_axis(order, middle[None], 0), 0)[0]
    return found
