"""Eyes that blink: they go on looking where they looked, and their lids are down for the blink alone.

A lid that falls in a blink and one that follows the eyeball down move skin almost alike (the embedded head's `eyeBlink`
and `eyeLookDown` have a cosine of .96), and the network's irises sink with the lids. So a blink is half taken for a look
down. How long it lasts tells them apart.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.scene import Array

BLINK_S = 0.7
"""Time between open eyes up to which what lies between is a blink."""

_UNSEEN = 1 / np.radians(40) ** 2
"""What is known of a gaze that only its neighbors tell."""


def blinks(shut: Array, times_s: Array) -> Array:
    """(T,) bool, frames of short spells of shut eyes, between open ones or at an end of the clip.

    Args:
        shut: (T,) bool, frames in which neither eye shows.
        times_s: (T,) increasing.
    """
    found = np.zeros(len(shut), bool)
    if shut.all():
        return found
    seen = np.flatnonzero(~shut)
    ends = np.concatenate([[-1], seen, [len(shut)]])
    for first, last in zip(ends[:-1], ends[1:], strict=True):
        length = times_s[min(last, len(shut) - 1)] - times_s[max(first, 0)]
        found[first + 1 : last] = length <= BLINK_S
    return found


def looking_on(angles: Array, information: Array, blinking: Array, times_s: Array) -> tuple[Array, Array]:
    """Gaze (T, 2) and what is known of it (T, 2), in blinks between what it was before and is after.

    Args:
        angles, information: (T, 2) of all frames.
        blinking: (T,) bool, as `blinks` finds them.
        times_s: (T,).
    """
    between = np.stack([np.interp(times_s, times_s[~blinking], column[~blinking]) for column in angles.T], 1)
    held = blinking[:, None]
    return np.where(held, between, angles), np.where(held, _UNSEEN, information)


def lids_held(head: HeadModel, before: Tensor, after: Tensor, blinking: Array) -> Tensor:
    """(T, E) expressions `after` in which lids hang as low as `before`: what a look down no longer does, a blink does.

    Args:
        head: the head model.
        before, after: (T, E) expressions that differ in where the eyes look.
        blinking: (T,) bool, frames to change.
    """
    changed, frames = after.clone(), torch.from_numpy(blinking)
    for side in ("left", "right"):
        down, blink = (head.expression_names.index(f"{name}{side.title()}") for name in ("eyeLookDown", "eyeBlink"))
        risen = (before[:, down] - after[:, down]).clamp(min=0)
        lowered = (after[:, blink] + _blink_per_look(head, down, blink) * risen).clamp(max=1)
        changed[:, blink] = torch.where(frames, lowered, after[:, blink])
    return changed


def _blink_per_look(head: HeadModel, down: int, blink: int) -> float:
    """How much of a blink lowers lids like a whole look down does, by least squares."""
    lids = torch.nonzero(head.regions["eyelids"])[:, 0]
    half = torch.zeros(3, len(head.expression_names))
    half[1, down], half[2, blink] = 0.5, 0.5
    rest, low, shut = head.vertices(torch.zeros(head.identity_size), half, subset=lids)
    return float(((low - rest) * (shut - rest)).sum() / (shut - rest).square().sum())
