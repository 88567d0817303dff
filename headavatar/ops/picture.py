"""The rays of a picture's pixels, and what they saw as a picture over a background."""

from __future__ import annotations

import torch
from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.compositing import Composite
from headavatar.ops.native import picture as native
from headavatar.ops.reference import picture as reference

FAINT = 1e-3
"""A pixel less opaque than this has no depth."""


@torch.no_grad()
def pixel_rays(turn: Tensor, left: int, top: int, columns: int, rows: int) -> tuple[Tensor, Tensor]:
    """Rays through the middles of a rectangle's pixels.

    Args:
        turn: (3, 3) from a pixel (u, v, 1) to a direction.
        left, top, columns, rows: the rectangle, pixels.
    Returns:
        directions of length 1 (rows, columns, 3), and (rows, columns) the lengths that `turn` gave them.
    Raises:
        ValueError: `turn` is no such matrix.
    """
    if turn.shape != (3, 3):
        raise ValueError(f"turn {tuple(turn.shape)} is not (3, 3)")
    found = native if backend.is_native(turn) else reference
    return found.pixel_rays(turn, left, top, columns, rows)


@torch.no_grad()
def lay_over(
    seen: Composite, lengths: Tensor, background: Tensor, unit: float, left: int, top: int, rgb: Tensor, alpha: Tensor,
    depth: Tensor,
) -> None:  # fmt: skip
    """Put what a rectangle's rays saw over a background into a picture.

    Args:
        seen: of the rays of `pixel_rays`, row by row, over black.
        lengths: (rows, columns) by which distances along rays exceed depths.
        background: (3,) color.
        unit: metres per unit of distance.
        left, top: the rectangle's first pixel.
        rgb, alpha, depth: (H, W, 3), (H, W) and (H, W), where it goes; depth in metres, 0 where nothing is seen.
    Raises:
        ValueError: the rectangle does not lie in the picture, or shapes do not fit.
    """
    rows, columns = lengths.shape
    height, width = alpha.shape
    if rgb.shape != (height, width, 3) or depth.shape != (height, width) or background.shape != (3,):
        raise ValueError(f"pictures {tuple(rgb.shape)}, {tuple(alpha.shape)} and {tuple(depth.shape)} differ in size")
    if len(seen.alpha) != rows * columns:
        raise ValueError(f"{len(seen.alpha)} rays for {rows} rows of {columns}")
    if min(left, top) < 0 or left + columns > width or top + rows > height:
        raise ValueError(f"{columns} x {rows} pixels from {left}, {top} on do not lie in {width} x {height}")
    tensors = (seen.rgb, seen.alpha, seen.depth, lengths, background, rgb, alpha, depth)
    whole = rgb.is_contiguous() and alpha.is_contiguous() and depth.is_contiguous()
    found = native if whole and backend.is_native(*tensors) else reference
    found.lay_over(seen.rgb, seen.alpha, seen.depth, lengths, background, unit, FAINT, left, top, (rgb, alpha, depth))
