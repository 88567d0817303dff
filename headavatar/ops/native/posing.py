"""Bindings of posing.cpp."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from headavatar.ops.native.library import handle
from headavatar.ops.native.structs import PoseArgs, address

LANES = 16
"""Vertices of a block, those of posing.cpp."""


@dataclass(frozen=True)
class Blocks:
    """A shape as posing.cpp reads it, N vertices together; the last block is filled with 0.

    Attributes:
        rest: (B, 3, N).
        move_starts, move_index, moves: (B + 1,), (M,) and (M, 3, N): which bases move a block, and by what.
        turn_starts, turn_index, turn_weights: (B + 1,), (T,) and (T, N): which joints turn it, and how far.
    """

    rest: Tensor
    move_starts: Tensor
    move_index: Tensor
    moves: Tensor
    turn_starts: Tensor
    turn_index: Tensor
    turn_weights: Tensor


def pack(rest: Tensor, bases: Tensor, weights: Tensor) -> Blocks:
    """Blocks of `ops.pack_shape`'s arguments."""
    moves = _blocks(bases)
    starts, index, kept = _listed(moves, (moves != 0).any(3).any(2))
    joints = _blocks(weights.T[..., None])
    turn_starts, turn_index, turn_weights = _listed(joints, (joints != 0).any(3).any(2))
    return Blocks(_blocks(rest[None])[0], starts, index, kept, turn_starts, turn_index, turn_weights[:, 0].contiguous())


def _blocks(values: Tensor) -> Tensor:
    """(K, V, D) -> (K, B, D, N)."""
    padded = functional.pad(values.float(), (0, 0, 0, -values.shape[1] % LANES))
    return padded.unflatten(1, (-1, LANES)).transpose(2, 3).contiguous()


def _listed(values: Tensor, used: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of (K, B, ...) those that are used (K, B), block by block: where each block's begin, which they are, values."""
    block, index = torch.nonzero(used.T).unbind(1)
    starts = functional.pad(used.sum(0).cumsum(0), (1, 0))
    return starts.int().contiguous(), index.int().contiguous(), values[index, block].contiguous()


def pose(
    blocks: Blocks, vertex_count: int, coefficients: Tensor, turns: Tensor, pivots: Tensor, view: Tensor,
    projection: Tensor, offset: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`ops.pose_shape`."""
    points, pixels = torch.empty(vertex_count, 3), torch.empty(vertex_count, 3)
    given = [t.contiguous() for t in (coefficients, turns, pivots, view, projection)]
    offset = None if offset is None else offset.contiguous()
    args = PoseArgs(
        address(blocks.rest), address(blocks.moves), address(blocks.turn_weights), address(blocks.move_starts),
        address(blocks.move_index), address(blocks.turn_starts), address(blocks.turn_index),
        *(address(t) for t in given), address(offset), address(points), address(pixels), vertex_count,
        len(blocks.rest),
    )  # fmt: skip
    handle().ha_pose(ctypes.byref(args))
    return points, pixels
