"""Eyes that blink: they go on looking where they looked, and their lids are down for the blink alone.

A lid that falls in a blink and one that follows the eyeball down move skin almost alike (the embedded head's have a
cosine of .94), and the network's irises sink with the lids. So a blink is half taken for a look down. How long it lasts
and how far the lids come tell them apart.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.scene import Array
from headavatar.track.landmark_model import LID_PAIRS

BLINK_S = 0.7
"""Time between open eyes up to which what lies between is a blink."""
CLOSED = 0.5
"""Share of what is usually open to which lids come in a blink; eyes that look down stay wider."""

_UNSEEN = 1 / np.radians(40) ** 2
"""What is known of a gaze that only its neighbors tell."""


def opening(head: HeadModel, expression: Tensor) -> Array:
    """(T,) mean distance of upper and lower lids under (T, E) expressions, metres, in the mean head."""
    points = head.landmark_model().points(torch.zeros(head.identity_size), expression)
    upper, lower = torch.tensor(LID_PAIRS).T
    return np.asarray((points[:, upper] - points[:, lower]).norm(dim=-1).mean(1))


def blinks(shut: Array, opened: Array, times_s: Array) -> Array:
    """(T,) bool, frames of short spells of shut eyes, between open ones or at an end of the clip.

    Args:
        shut: (T,) bool, frames in which neither eye shows.
        opened: (T,) how wide they are, in any unit.
        times_s: (T,) increasing.
    """
    found = np.zeros(len(shut), bool)
    if shut.all():
        return found
    closed = opened < CLOSED * np.quantile(opened, 0.75)
    seen = np.flatnonzero(~shut)
    ends = np.concatenate([[-1], seen, [len(shut)]])
    for first, last in zip(ends[:-1], ends[1:], strict=True):
        length = times_s[min(last, len(shut) - 1)] - times_s[max(first, 0)]
        spell = slice(first + 1, last)
        found[spell] = length <= BLINK_S and closed[spell].any()
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
    """(T, E) expressions `after` in which eyes are as narrow as `before`; what a look down did, a blink does.

    Args:
        head: the head model.
        before, after: (T, E) expressions that differ in where the eyes look.
        blinking: (T,) bool, frames to change.
    """
    changed, frames = after.clone(), torch.from_numpy(blinking)
    for side in ("Left", "Right"):
        looks = [head.expression_names.index(f"eyeLook{way}{side}") for way in ("Down", "Up")]
        blink = head.expression_names.index(f"eyeBlink{side}")
        lost = (before - after)[:, looks] @ _blink_per_look(head, looks, blink)
        lowered = (after[:, blink] + lost.clamp(min=0)).clamp(max=1)
        changed[:, blink] = torch.where(frames, lowered, after[:, blink])
    return changed


def _blink_per_look(head: HeadModel, looks: list[int], blink: int) -> Tensor:
    """(2,) how much of a blink narrows the eye like each whole look does; negative for one that opens it."""
    half = torch.zeros(4, len(head.expression_names))
    half[torch.arange(1, 4), torch.tensor([*looks, blink])] = 0.5
    wide = torch.from_numpy(opening(head, half))
    return (wide[1:3] - wide[0]) / (wide[3] - wide[0])
