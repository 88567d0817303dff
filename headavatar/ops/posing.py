"""A shape that coefficients move and joints turn, put before a camera: one frame, without gradients, in one call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.native import posing as native
from headavatar.ops.reference import posing as reference


@dataclass(frozen=True)
class PackedShape:
    """What `pack_shape` lays out.

    Attributes:
        rest: (V, 3) meters.
        bases: (K, V, 3) what a unit of each coefficient adds, meters.
        weights: (V, J) how far a vertex follows each joint.
        blocks: the same as the native kernel reads it; None where the shape is not on the processor.
    """

    rest: Tensor
    bases: Tensor
    weights: Tensor
    blocks: native.Blocks | None


def pack_shape(rest: Tensor, bases: Tensor, weights: Tensor) -> PackedShape:
    """Lay a shape out for `pose_shape`.

    Args:
        rest: (V, 3) meters.
        bases: (K, V, 3) what a unit of each coefficient adds, meters.
        weights: (V, J) how far a vertex follows each joint; joints turn in this order.
    Raises:
        ValueError: these are not of the same vertices.
    """
    if rest.shape[1:] != (3,) or bases.shape[1:] != rest.shape or weights.shape[:1] != rest.shape[:1]:
        raise ValueError(
            f"bases {tuple(bases.shape)} and weights {tuple(weights.shape)} of a shape {tuple(rest.shape)}"
        )
    blocks = native.pack(rest, bases, weights) if rest.device.type == "cpu" else None
    return PackedShape(rest.contiguous(), bases, weights, blocks)


@torch.no_grad()
def pose_shape(
    shape: PackedShape, coefficients: Tensor, turns: Tensor, pivots: Tensor, view: Tensor, projection: Tensor,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Move a shape by its bases, turn it in its joints, put it before the camera and project it.

    Args:
        shape: of `pack_shape`.
        coefficients: (K,) of the bases.
        turns: (J, 3, 3) rotations that act on columns.
        pivots: (J, 3) about which they turn, meters.
        view: (3, 4) from the shape's space to the camera's.
        projection: (2, 3) first rows of the camera's intrinsics.
        offset: (V, 3) added before anything, meters.
    Returns:
        (V, 3) camera space, meters; (V, 3) x and y in pixels, depth along the camera's z in meters.
    Raises:
        ValueError: shapes do not fit.
    """
    count, joints = len(shape.bases), shape.weights.shape[1]
    if coefficients.shape != (count,) or turns.shape != (joints, 3, 3) or pivots.shape != (joints, 3):
        raise ValueError(f"the shape takes {count} coefficients and {joints} rotations about as many pivots")
    if view.shape != (3, 4) or projection.shape != (2, 3) or (offset is not None and offset.shape != shape.rest.shape):
        raise ValueError("the view is (3, 4), the projection (2, 3), and an offset is of all vertices")
    if shape.blocks is not None and backend.is_native(shape.rest, coefficients):
        return native.pose(shape.blocks, len(shape.rest), coefficients, turns, pivots, view, projection, offset)
    return reference.pose(shape.rest, shape.bases, shape.weights, coefficients, turns, pivots, view, projection, offset)
