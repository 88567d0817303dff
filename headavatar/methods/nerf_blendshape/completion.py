"""What is added to a head once its fit is done: what training saw nothing of, and where it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...scene import Array, Camera, HeadParams
from . import neckline, unseen
from .neckline import Neckline
from .occupancy import diverse_frames
from .pixels import TrainingPixels
from .proxy import Proxy
from .proxy_fit import Skull, proxy_of
from .sightings import Sightings

if TYPE_CHECKING:
    from .avatar import NerfBlendshapeAvatar


@dataclass(frozen=True)
class Completion:
    """The parts of a fitted head that training left open; see `NerfBlendshapeAvatar`."""

    occupied: torch.Tensor
    backing: torch.Tensor
    proxy: Proxy | None
    neckline: Neckline | None


def completed(
    avatar: NerfBlendshapeAvatar, pixels: TrainingPixels, params: HeadParams, camera: Camera, skull: Skull,
    bare: torch.Tensor, *, whole_head: bool, guessed: bool, worn: Array | None,
) -> Completion:  # fmt: skip
    """Let rays go on where training saw nothing, stand sides and back behind them, and end the neck.

    Args:
        avatar: as the fit left it.
        pixels, params, camera: of its training frames.
        skull: the tracked head inside it.
        bare: (G, G, G) bool, voxels that the mattes allow and no hair can be in.
        whole_head: whether sides and back are wanted.
        guessed: whether training was told where a neck goes on below clothes; then it ends as it was told.
        worn: (H, W) bool, pixels of real pictures, where clothes hide parts of the head; None where nothing does.
    """
    mattes, counted = pixels.maps(skull.frames)
    seen = Sightings.of(avatar, params[skull.frames], camera, counted)
    proxy = None
    if avatar.views is not None and whole_head:
        proxy = proxy_of(avatar.occupied, seen, mattes, params[skull.frames], skull)
    end_y = -np.inf if guessed else skull.chin_y
    occupied, backing = unseen.completed(avatar.occupied, seen, bare, end_y)
    if worn is None or guessed:
        return Completion(occupied, backing, proxy, None)
    looks = _looks(avatar, pixels, params, camera, worn)
    return Completion(occupied, backing, proxy, Neckline.of(occupied, avatar.cube, looks, skull.chin_y))


def _looks(
    avatar: NerfBlendshapeAvatar, pixels: TrainingPixels, params: HeadParams, camera: Camera, valid: Array
) -> Iterator[tuple[Sightings, Array]]:  # fmt: skip
    """What an avatar shows in frames of training that differ, one by one, and (1, H, W) where clothes hide it there."""
    for frame in diverse_frames(params, neckline.LOOKS):
        one = np.array([frame])
        _, counted = pixels.maps(one)
        yield Sightings.of(avatar, params[one], camera, counted), valid & ~counted
