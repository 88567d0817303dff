"""Colors of a proxy: what training's pictures show of it, and spread from there to what none showed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from ...scene import Array
from .proxy_shape import known
from .sightings import Sightings

NEAR_M = 0.02
"""A vertex shows where a surface is seen within this distance of it along the line of sight, metres."""
SOLID = 0.9
"""Only where a pixel is as opaque as this its color is believed."""
FAITH = 10.0
"""How strongly a believed vertex holds its own color, over a neighbor's pull."""
SHEEN = 3
"""Trust speaks for colors by this power: what is seen at a grazing angle only shines."""
KIND = 0.1
"""Pull to the mean color of what was seen of the same kind: hair for a scalp that has some, skin elsewhere."""
LEAST = 1e-6
"""Pull to the mean color of all."""
SURE = 0.5
"""Vertices that are known as well as this tell where light comes from."""
DARK = 0.02
"""Added to brightness before its logarithm is taken."""
STEADY = 100.0
"""Pull of the light to none, in squared changes of a normal."""
EVEN = 4
"""Rounds of `evened`."""


@dataclass(frozen=True)
class Seen:
    """What pictures show of V vertices.

    Attributes:
        colors: (V, 3) mean, weighted by how face on they were seen, without what `light` adds.
        trust: (V,) how well they are known, 0 to 1.
        hair: (V,) share of what was seen there that is hair.
        light: (3,) by how much the logarithm of brightness grows with a normal's axes in camera space.
    """

    colors: Array
    trust: Array
    hair: Array
    light: Array


def seen_colors(places: Array, normals: Array, hair: Array, seen: Sightings) -> Seen:
    """What pictures show of vertices.

    Args:
        places: (V, 3) cube units; normals (V, 3) outwards, head space.
        hair: (n, H, W) bool, pixels that show hair.
        seen: the pictures.
    """
    count = len(places)
    total, weight, best, hairy = np.zeros((count, 3)), np.zeros(count), np.zeros(count), np.zeros(count)
    lit: list[tuple[Array, Array, Array, Array]] = []
    for glance in seen.of_points(places):
        at, outward = glance.index, normals[glance.index]
        trust = known(np.minimum((glance.toward * outward).sum(1), glance.facing))
        trust = trust * (np.abs(glance.behind) < NEAR_M) * (glance.alpha > SOLID)
        color = glance.rgb / np.maximum(glance.alpha, SOLID)[:, None]
        total[at] += (trust**2)[:, None] * color
        weight[at] += trust**2
        hairy[at] += trust**2 * hair[glance.frame].reshape(-1)[glance.pixels]
        best[at] = np.maximum(best[at], trust)
        sure = trust > SURE
        lit.append((at[sure], (outward @ seen.rotation[glance.frame].T)[sure], color[sure], trust[sure]))
    weight = np.maximum(weight, 1e-9)
    index, turned, colors, trusts = (np.concatenate(part) for part in zip(*lit, strict=True))
    light, usual = _light(index, turned, colors, trusts, count)
    return Seen(total / weight[:, None] / np.exp(usual @ light)[:, None], best, hairy / weight, light)


def _light(index: Array, normals: Array, colors: Array, trust: Array, count: int) -> tuple[Array, Array]:
    """(3,) light, by how vertices' brightness changes as they turn, and (count, 3) their usual normal, camera space."""
    values = np.concatenate([normals, np.log(colors.mean(1) + DARK)[:, None]], 1)
    total = np.stack([np.bincount(index, trust * column, count) for column in values.T], 1)
    mean = total / np.maximum(np.bincount(index, trust, count), 1e-9)[:, None]
    change = (values - mean[index]) * trust[:, None]
    turned, brighter = change[:, :3], change[:, 3]
    light: Array = np.linalg.solve(turned.T @ turned + STEADY * np.eye(3), turned.T @ brighter)
    return light, mean[:, :3]


def spread(colors: Array, trust: Array, faces: Array, kinds: list[tuple[Array, Array]]) -> Array:
    """(V, C) the smoothest colors over a mesh that hold to the trusted ones.

    Args:
        colors: (V, C), trust (V,) 0 to 1.
        faces: (F, 3).
        kinds: (V,) how much vertices speak for a kind, and (V,) bool, which are drawn to its mean color unless seen.
    """
    trust = trust**SHEEN
    both = np.concatenate([edge for k in range(3) for edge in (faces[:, [k, k - 1]], faces[:, [k - 1, k]])])
    tug = sparse.csr_matrix((np.full(len(both), 0.5), tuple(both.T)), shape=(len(colors),) * 2)
    held = FAITH * trust
    wanted, holds = held[:, None] * colors, held + LEAST
    wanted += LEAST * (trust @ colors) / max(trust.sum(), 1e-9)
    for speaks, kind in kinds:
        weight = speaks * trust
        if weight.sum() > 0:
            share = KIND * kind * (1 - trust)
            wanted, holds = wanted + np.outer(share, weight @ colors / weight.sum()), holds + share
    system = sparse.diags(np.asarray(tug.sum(1))[:, 0] + holds) - tug
    return np.asarray(splu(system.tocsc()).solve(wanted))


def evened(values: Array, faces: Array) -> Array:
    """(V,) values of a closed mesh's vertices, smoothed: in each round half of a vertex's is its neighbors' mean."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    counts = np.maximum(np.bincount(edges[:, 0], minlength=len(values)), 1)
    for _ in range(EVEN):
        values = (values + np.bincount(edges[:, 0], values[edges[:, 1]], len(values)) / counts) / 2
    return values
