"""Strands of hair where no frame shows any: brighter and darker streaks that run from the crown down, made up.

What spreads over a proxy from the hair that was seen is its color; a back of one color looks like a cap. How much
streaks differ is measured on the hair that was seen, where they run is the same for everybody.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy.ndimage import binary_erosion, gaussian_filter

from ...scene import Array
from .sightings import Sightings

LEAN_RAD = 0.6
"""Hair parts this far behind the top of the head, as seen from the middle of its scalp."""
SWIRL = 0.35
"""Around the crown strands turn by this angle for each angle that they run down."""
ROWS, COLUMNS = 192, 1024
"""Of the map of streaks: angles from the crown down, and around it."""
STREAKS = ((0.16, 0.01, 0.4), (0.35, 0.035, 0.6))
"""Streaks' lengths and widths, radians, and shares of the variance: strands and what they gather to."""
AT_CROWN = 0.25
"""Streaks get thinner towards the crown; nearer than where a circle around it has this radius, of 1, they fade."""
SEED = 7
"""Of the map, which is every head's."""
BLUR_PX = 5.0
"""What is coarser than this, pixels of the pictures looked at, is no strand but shade."""
FACING, OPAQUE, DARK, RIM_PX = 0.5, 0.95, 0.02, 2
"""Seen hair counts from this cosine and opacity on, so far from its rim; brightness is told from so much on."""
MOST, ENOUGH = 0.25, 200
"""Streaks never differ by more, in the logarithm of brightness; fewer pixels of hair than this tell nothing."""


def amount(hair: Array, seen: Sightings) -> float:
    """By how much strands differ, as a standard deviation of the logarithm of brightness.

    Args:
        hair: (n, H, W) bool, pixels of `seen` that show hair.
        seen: pictures of a fitted head.
    """
    found: list[Array] = []
    for shown, rgb, alpha, facing in zip(hair, seen.rgb, seen.alpha, seen.facing, strict=True):
        mask = shown & (alpha > OPAQUE) & (facing > FACING)
        brightness, weight = np.log(rgb.mean(2) + DARK), mask.astype(np.float32)
        shade = gaussian_filter(brightness * weight, BLUR_PX) / np.maximum(gaussian_filter(weight, BLUR_PX), 1e-6)
        found.append((brightness - shade)[binary_erosion(mask, iterations=RIM_PX)])
    values = np.concatenate(found)
    if len(values) < ENOUGH:
        return 0.0
    return min(float(1.4826 * np.median(np.abs(values - np.median(values)))), MOST)


def laid(points: Array, middle: Array, amounts: Array) -> Array:
    """(V, 3) float32, what `shading` reads: directions from a head's middle, of the length of what strands differ by.

    Args:
        points: (V, 3) and middle (3,) of the scalp, head space.
        amounts: (V,) as `amount` gives them.
    """
    lean = np.array([[1, 0, 0], [0, np.cos(LEAN_RAD), -np.sin(LEAN_RAD)], [0, np.sin(LEAN_RAD), np.cos(LEAN_RAD)]])
    toward = (points - middle) @ lean.T
    toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-9)
    return (amounts[:, None] * toward).astype(np.float32)


def shading(strands: torch.Tensor) -> torch.Tensor:
    """(N,) what brightness is multiplied by at (N, 3) places of what `laid` gave."""
    much = strands.norm(dim=1)
    x, y, z = (strands / much.clamp(min=1e-9)[:, None]).unbind(1)
    down = torch.acos(y.clamp(-1, 1))
    around = torch.remainder((torch.atan2(x, z) + SWIRL * down) / (2 * np.pi), 1)
    at = torch.stack([2 * around - 1, 2 * down / np.pi - 1], 1)
    streaks = torch.nn.functional.grid_sample(
        _streaks().to(strands)[None, None], at[None, None], align_corners=True, padding_mode="border"
    )  # fmt: skip
    fades = ((1 - y.square()).clamp(min=0).sqrt() / AT_CROWN).clamp(max=1)
    return torch.exp(much * fades * streaks[0, 0, 0])


@cache
def _streaks() -> torch.Tensor:
    """(ROWS, COLUMNS + 1) of variance 1 around 0; the last column is the first."""
    rng, found = np.random.default_rng(SEED), np.zeros((ROWS, COLUMNS))
    for length, width, share in STREAKS:
        deviation = (length / np.pi * ROWS, width / (2 * np.pi) * COLUMNS)
        noise = gaussian_filter(rng.normal(size=found.shape), deviation, mode=("nearest", "wrap"))
        found += np.sqrt(share) * noise / noise.std(1, keepdims=True)
    return torch.from_numpy(np.concatenate([found, found[:, :1]], 1).astype(np.float32))
