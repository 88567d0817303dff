"""Maps over a surface's UV layout, read at given places."""

from __future__ import annotations

from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.native import texturing as native
from headavatar.ops.reference import texturing as reference


def sample_maps(maps: Tensor, uv: Tensor) -> Tensor:
    """Read feature maps bilinearly.

    Channels lie together in memory, since a place reads all of them. Row 0 is at v = 1, as in a picture whose lower
    left corner is (0, 0); texel (row, column) has its center at u = (column + 0.5) / W, v = 1 - (row + 0.5) / H, and
    what lies beyond the outermost centers takes their values.

    Args:
        maps: (H, W, C).
        uv: (N, 2) in [0, 1], v up.
    Returns:
        (N, C); carries gradients to `maps` and `uv`.
    Raises:
        ValueError: shapes do not fit.
    """
    if maps.ndim != 3 or not maps.numel() or uv.ndim != 2 or uv.shape[1] != 2:
        raise ValueError(f"maps of {tuple(maps.shape)} and places of {tuple(uv.shape)}, not (H, W, C) and (N, 2)")
    if backend.is_native(maps, uv):
        return native.sample_maps(maps, uv)
    return reference.sample_maps(maps, uv)
