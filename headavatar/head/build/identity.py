"""The identity basis: principal components of heads sampled from MakeHuman's modifiers."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from headavatar.head.build.source import RawHead, Wheel
from headavatar.scene import Array

_LOCAL_FOLDERS = ("head", "chin", "cheek", "ears", "eyes", "eyebrows", "forehead", "mouth", "nose", "neck", "asym")
_OPPOSITES = (
    ("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"), ("concave", "convex"),
    ("compress", "uncompress"), ("1-l", "1-r"), ("2-l", "2-r"), ("3-l", "3-r"), ("4-l", "4-r"), ("5-l", "5-r"),
    ("6-l", "6-r"), ("7-l", "7-r"),
)  # fmt: skip
_AGES = (("child", 0.1875), ("young", 0.5), ("old", 1.0))
_RACES = ("african", "asian", "caucasian")

_SPREAD = 0.28
"""Standard deviation of a modifier whose range is [-1, 1]."""

# The video seldom shows the cranium (hair), so free fits let it grow: these modifiers vary less. Sizes of the opening
# of eyes and mouth belong to expressions.
_SPREADS = (
    (re.compile(r"head-(scale|back-scale|trans|angle|age)|forehead-scale|forehead-temple|forehead-nubian"), 0.12),
    (re.compile(r"eye-height|mouth-trans|mouth-lowerlip-middle|mouth-upperlip-middle|mouth-angles|jaw-drop"), 0.12),
    (re.compile(r"^neck-|measure-neck"), 0.18),
    (re.compile(r"^asym-"), 0.10),
    (re.compile(r"ear-shape|ear-flap|head-(diamond|triangular|invertedtriangular|square|round|oval|rect)"), 0.16),
)


@dataclass(frozen=True)
class Modifier:
    """A pair of opposite targets, or a lone one: weight w > 0 adds w × positive, w < 0 adds |w| × negative."""

    name: str
    negative: Array | None
    positive: Array
    spread: float


def modifiers(wheel: Wheel) -> list[Modifier]:
    """All local modifiers that touch the head, with the spread that each is sampled with."""
    found = []
    for folder in _LOCAL_FOLDERS:
        names = wheel.targets(folder)
        taken: set[str] = set()
        for name in names:
            if name in taken or name.startswith(("asymm-breast", "asymm-trunk")):
                continue
            opposite = next(
                (name[: -len(a)] + b for a, b in _OPPOSITES if name.endswith("-" + a) and name[: -len(a)] + b in names),
                None,
            )
            if opposite is None and any(name.endswith("-" + b) and name[: -len(b)] + a in names for a, b in _OPPOSITES):
                continue  # reached from its other half
            taken.add(name)
            spread = next((s for pattern, s in _SPREADS if pattern.search(name)), _SPREAD)
            delta = wheel.target(folder, name)
            if opposite is None:
                found.append(Modifier(name, None, delta, spread))
            else:
                found.append(Modifier(name, delta, wheel.target(folder, opposite), spread))
    return [m for m in found if np.abs(m.positive).max() > 0]


def sample_heads(wheel: Wheel, raw: RawHead, count: int, seed: int) -> Array:
    """(2 × count, N, 3) random adult heads, the second half mirrored, so that the basis is symmetric."""
    random = np.random.default_rng(seed)
    basis: list[Array] = []
    weights: list[Array] = []

    ancestry = random.dirichlet([0.9] * 3, count)
    male = random.beta(0.8, 0.8, count)
    sexes = {"female": 1 - male, "male": male}
    age = random.uniform(0.4, 0.95, count)
    stops = np.array([stop for _, stop in _AGES])
    ages = {name: np.interp(age, stops, np.eye(3)[i]) for i, (name, _) in enumerate(_AGES)}
    levels = {}
    for what in ("muscle", "weight"):
        x = np.clip(random.normal(0.5, 0.18, count), 0, 1)
        levels[what] = {f"{level}{what}": np.interp(x, [0, 0.5, 1], np.eye(3)[i]) for i, level in enumerate(_LEVELS)}
    for sex, ws in sexes.items():
        for age_name, wa in ages.items():
            for i, race in enumerate(_RACES):
                basis.append(wheel.target("macrodetails", f"{race}-{sex}-{age_name}"))
                weights.append(ancestry[:, i] * ws * wa)
            for muscle, wm in levels["muscle"].items():
                for weight, ww in levels["weight"].items():
                    basis.append(wheel.target("macrodetails", f"universal-{sex}-{age_name}-{muscle}-{weight}"))
                    weights.append(ws * wa * wm * ww)

    by_name: dict[str, Array] = {}
    for modifier in modifiers(wheel):
        w = random.normal(0, modifier.spread, count)
        twin = by_name.get(re.sub(r"^r-", "l-", modifier.name))
        if twin is not None:  # left and right differ by a little only
            w = twin + random.normal(0, 0.05, count)
        by_name[modifier.name] = w
        w = np.clip(w, -1, 1)
        basis.append(modifier.positive)
        weights.append(np.maximum(w, 0))
        if modifier.negative is not None:
            basis.append(modifier.negative)
            weights.append(np.maximum(-w, 0))
    moves = np.stack(weights, 1) @ np.stack(basis).reshape(len(basis), -1)
    heads = raw.vertices + moves.reshape(count, -1, 3)
    return np.concatenate([heads, heads[:, raw.mirror] * [-1.0, 1.0, 1.0]])


_LEVELS = ("min", "average", "max")


def align(points: Array, weights: Array, reference: Array) -> tuple[Array, Array, Array]:
    """Rotation and shift that bring points onto a reference, weighted Procrustes without scale.

    Args:
        points: (N, 3).
        weights: (N,).
        reference: (N, 3).
    Returns:
        rotation (3, 3) and the two centroids: x -> (x - from) @ rotation + to.
    """
    w = weights / weights.sum()
    source, target = w @ points, w @ reference
    u, _, vt = np.linalg.svd((points - source).T @ (w[:, None] * (reference - target)))
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    return u @ vt, source, target


def principal_modes(
    heads: Array, weights: Array, expressions: Array, count: int, strength: float, ridge: float
) -> tuple[Array, Array]:
    """Uncorrelated identity coordinates of sampled heads, softened where expressions could say the same.

    What an affine map of the mean head explains is kept: expressions are no stretch of the whole head. Of the rest, the
    part in the expressions' span is reduced, lest a clip's resting face be explained by opened jaws.

    Args:
        heads: (M, N, 3) aligned heads.
        weights: (N,) importance of each vertex.
        expressions: (E, N, 3) displacements.
        count: number of modes.
        strength: share of the expressions' span to remove, in [0, 1].
        ridge: regularises the projection, as a share of the expressions' mean squared norm.
    Returns:
        heads (M, N, 3), softened, and scores (M, count) with mean 0 and variance 1.
    """
    samples, n, _ = heads.shape
    mean = heads.mean(0)
    root = np.sqrt(weights / weights.sum())[:, None]
    frame = np.concatenate([mean, np.ones((n, 1))], 1)
    affine = np.linalg.pinv(root * frame)  # (4, N)
    spread = heads - mean
    stretch = np.einsum("nk,mkc->mnc", frame, np.einsum("kn,mnc->mkc", affine, root * spread))
    rest = (spread - stretch).reshape(samples, -1)
    flat = (root * expressions).reshape(len(expressions), -1)
    gram = flat @ flat.T
    gram += ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    share = np.linalg.solve(gram, flat @ (root * rest.reshape(samples, n, 3)).reshape(samples, -1).T).T
    rest -= strength * share @ expressions.reshape(len(expressions), -1)
    softened = mean + stretch + rest.reshape(samples, n, 3)

    flat = (root * (softened - softened.mean(0))).reshape(samples, -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    scores = vectors[:, ::-1][:, :count] * np.sqrt(samples - 1)
    return softened, scores
