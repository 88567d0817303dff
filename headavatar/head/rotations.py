"""Axis-angle vectors and rotation matrices: differentiable in torch, and their numpy twins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from headavatar.scene import Array

_SMALL = 1e-4
"""Below this angle, radians, series take the place of quotients that lose their digits."""
_EYE = np.eye(3)
_CROSS = np.array([[0.0, 0, 0, 0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 0, -1, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0]])
"""(3, 9) from a vector to the matrix whose product with another one is their cross product."""


def axis_angle_to_matrix(vector: torch.Tensor) -> torch.Tensor:
    """Turn axis-angle vectors into rotation matrices.

    Args:
        vector: (..., 3) axis times angle, radians.
    Returns:
        (..., 3, 3) matrices that act on columns. Gradients are finite everywhere, also at 0.
    Source:
        Rodrigues' formula, R = I + sin(a)/a K + (1 - cos(a))/a² K².
    """
    squared = (vector * vector).sum(-1)
    small = squared < _SMALL**2
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 1 - squared / 6, angle.sin() / angle)[..., None, None]
    # 1 - cos a = 2 sin²(a/2) keeps its digits in float32.
    half = (angle / 2).sin()
    second = torch.where(small, 0.5 - squared / 24, 2 * half * half / safe)[..., None, None]
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vector.shape[:-1], 3, 3)
    eye = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return eye + first * cross + second * (cross @ cross)


def matrix_to_axis_angle(matrix: torch.Tensor) -> torch.Tensor:
    """Turn rotation matrices into axis-angle vectors.

    Args:
        matrix: (..., 3, 3).
    Returns:
        (..., 3) with angles in [0, π]. Gradients are finite for angles below π.
    Source:
        By way of the quaternion whose largest component is divided by (Shepperd 1978).
    """
    m = matrix
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # Each row is 4 q_k (w, x, y, z): the quaternion scaled by one of its components.
    rows = torch.stack(
        [
            torch.stack(
                [1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
            ),
            torch.stack(
                [m[..., 2, 1] - m[..., 1, 2], 1 + 2 * m[..., 0, 0] - trace, m[..., 0, 1] + m[..., 1, 0],
                 m[..., 0, 2] + m[..., 2, 0]], -1,
            ),
            torch.stack(
                [m[..., 0, 2] - m[..., 2, 0], m[..., 0, 1] + m[..., 1, 0], 1 + 2 * m[..., 1, 1] - trace,
                 m[..., 1, 2] + m[..., 2, 1]], -1,
            ),
            torch.stack(
                [m[..., 1, 0] - m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1],
                 1 + 2 * m[..., 2, 2] - trace], -1,
            ),
        ],
        -2,
    )  # fmt: skip
    largest = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = rows.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4))[..., 0, :]
    quaternion = row / row.norm(dim=-1, keepdim=True)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, axis = quaternion[..., 0], quaternion[..., 1:]
    squared = (axis * axis).sum(-1)
    small = squared < _SMALL**2
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    scale = torch.where(small, 2 + squared / 3, 2 * torch.atan2(sine, w) / sine)
    return scale[..., None] * axis


def turn_of(x: float, y: float, z: float) -> tuple[float, ...]:
    """`axis_angle_to_matrix` of one vector in plain numbers, many times sooner than a call of torch or numpy.

    Args:
        x, y, z: axis times angle, radians.
    Returns:
        The nine numbers of the matrix, row by row.
    """
    squared = x * x + y * y + z * z
    angle = math.sqrt(squared) or 1e-20
    first, half = math.sin(angle) / angle, math.sin(angle / 2) / angle
    second = 2 * half * half
    rest, a, b, c = 1 - second * squared, first * x, first * y, first * z
    xy, xz, yz = second * x * y, second * x * z, second * y * z
    return (
        rest + second * x * x, xy - c, xz + b, xy + c, rest + second * y * y, yz - a, xz - b, yz + a,
        rest + second * z * z,
    )  # fmt: skip


def turned_after(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
    """The product of two 3x3 matrices, or of one and a vector, each row by row in plain numbers."""
    width = len(b) // 3
    return tuple(
        a[row] * b[k] + a[row + 1] * b[width + k] + a[row + 2] * b[2 * width + k]
        for row in (0, 3, 6)
        for k in range(width)
    )


def axis_angle_to_matrix_np(vector: Array) -> Array:
    """Numpy twin of `axis_angle_to_matrix`: (..., 3) to (..., 3, 3) float64."""
    vector = np.asarray(vector, np.float64)
    squared = (vector * vector).sum(-1)
    angle = np.maximum(np.sqrt(squared), 1e-20)
    first, half = np.sin(angle) / angle, np.sin(angle / 2) / angle
    second = 2 * half * half
    cross = (vector @ _CROSS).reshape(*vector.shape, 3)
    outer = vector[..., :, None] * vector[..., None, :]
    turned: Array = first[..., None, None] * cross + second[..., None, None] * outer  # K² = v vᵀ - a² I
    turned += (1 - second * squared)[..., None, None] * _EYE
    return turned


def matrix_to_axis_angle_np(matrix: Array) -> Array:
    """Numpy twin of `matrix_to_axis_angle`: (..., 3, 3) to (..., 3) float64."""
    return matrix_to_axis_angle(torch.from_numpy(np.array(matrix, np.float64))).numpy()
