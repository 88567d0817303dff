"""What a frame's tracked pose and expression are off by, as tensors that carry gradients.

A residual moves the head before its tracked pose does: a point x of head space is seen at
R (exp(w) x + t) + T, with R and T tracked. So its numbers mean the same for a head that looks up or aside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..head.rotations import axis_angle_to_matrix, axis_angle_to_matrix_np, matrix_to_axis_angle_np
from ..scene import Array, HeadParams

if TYPE_CHECKING:
    from .conditioning import Conditioning

POSE = 6
"""Numbers of a rigid residual: rotation vector (radians), translation (metres), head space."""


@dataclass(frozen=True)
class Residual:
    """Of B frames.

    Attributes:
        pose: (B, 6) rotation vectors, radians, and translations, metres, head space.
        expression: (B, E) added to the coefficients that the avatar answers to, or None.
    """

    pose: Tensor
    expression: Tensor | None = None

    @staticmethod
    def zero(frames: int, expressions: int = 0) -> Residual:
        """Nothing to change; leaves whose gradients are switched on. Without expressions where their number is 0."""
        pose = torch.zeros(frames, POSE, requires_grad=True)
        return Residual(pose, torch.zeros(frames, expressions, requires_grad=True) if expressions else None)

    def parameters(self) -> list[Tensor]:
        """The tensors that there are."""
        return [self.pose] if self.expression is None else [self.pose, self.expression]

    def moved(self, rotation: Tensor, translation: Tensor) -> tuple[Tensor, Tensor]:
        """Tracked rotation matrices (B, 3, 3) and translations (B, 3) → the same, changed."""
        pose = self.pose.to(rotation.device)
        turned = rotation @ axis_angle_to_matrix(pose[:, :3])
        return turned, translation + (rotation @ pose[:, 3:, None])[..., 0]

    def seen_from(self, origins: Tensor, directions: Tensor, frame: int) -> tuple[Tensor, Tensor]:
        """Rays (R, 3) in head space, metres, as the changed head of one of the frames sees them."""
        pose = self.pose[frame].to(origins.device)
        turn = axis_angle_to_matrix(pose[:3])
        return (origins - pose[3:]) @ turn, directions @ turn

    def applied(self, params: HeadParams, field: str = "expression") -> HeadParams:
        """The parameters of B frames with this on top.

        Args:
            params: of B frames.
            field: of `HeadParams` that the expression's residual belongs to: "expression" or "recorded".
        """
        pose = self.pose.detach().cpu().double().numpy()
        rotation = axis_angle_to_matrix_np(params.rotation)
        turned = matrix_to_axis_angle_np(rotation @ axis_angle_to_matrix_np(pose[:, :3]))
        moved = params.translation + np.einsum("bij,bj->bi", rotation, pose[:, 3:])
        found = replace(params, rotation=turned.astype(np.float32), translation=moved.astype(np.float32))
        if self.expression is None:
            return found
        changed = getattr(params, field) + self.expression.detach().cpu().numpy()
        return replace(found, **{field: changed.astype(np.float32)})

    def sizes(self) -> tuple[Array, Array]:
        """(B,) angles in degrees and (B,) lengths in millimetres."""
        pose = self.pose.detach().cpu().numpy()
        return np.degrees(np.linalg.norm(pose[:, :3], axis=1)), 1000 * np.linalg.norm(pose[:, 3:], axis=1)


def coefficients(conditioning: Conditioning, expression: Tensor, pose: Tensor) -> Tensor:
    """What `Conditioning.coefficients` gives, with gradients.

    Args:
        expression: (B, E) those that the conditioning answers to.
        pose: (B, 6) rotation vectors, radians, and translations, metres, head to world.
    Returns:
        (B, K) blending weights.
    """

    def tensor(values: Array) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=expression.device)

    low, high = tensor(conditioning.low), tensor(conditioning.high)
    active = torch.as_tensor(conditioning.active, device=expression.device)
    shares = ((expression.clamp(low, high) - low) / (high - low).clamp_min(1e-6))[:, active]
    parts = [torch.ones_like(expression[:, :1]), shares]
    if len(conditioning.pose_low):
        parts.append(pose_shares(pose, tensor(conditioning.pose_low), tensor(conditioning.pose_high)))
    return torch.cat(parts, 1)


def pose_shares(pose: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(B, 6) poses as shares of a range (6,), held to [-1, 1]."""
    middle, half = (high + low) / 2, ((high - low) / 2).clamp_min(1e-6)
    return (pose.clamp(low, high) - middle) / half
