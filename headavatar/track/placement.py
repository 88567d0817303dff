"""How our head sits in poses that another program gives, whose own head model we do not have.

The poses say where the skull is but for a few constants (see `SkullPoses`), and our head's axes and origin are not the
other's. All of it is constant over a clip: a turn, a scale near 1 and some vectors, fitted to the landmarks together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headavatar.dialects.recording import SkullPoses
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.scene import Array
from headavatar.track.landmark_fit import RIGID, LandmarkFit, Motion, Person

_DEPTH_TRUST = 0.05
"""A landmark fit's depth against its other two coordinates, squared."""

_JOINT_M, _ORIGIN_M = 0.03, 0.2
"""How far joints may be from where they usually are, and our origin from the other's, metres: what is believed where no
motion tells. How far away the head is rests on it: a root joint 3 cm nearer to the camera is a head that much smaller.
"""

_SCALE = 0.02
"""The other's metre is ours within this, as surely as a person's identity is within one standard deviation."""


@dataclass(frozen=True)
class Placement:
    """The constants of a clip.

    Attributes:
        turn: (3, 3) from our head's axes to the other's.
        scale: of the other's world, so that it is in our metres.
        vectors: (K + 1, 3) the poses' constants, then our origin in the other's head space; metres.
    """

    turn: Array
    scale: float
    vectors: Array

    def motion(self, poses: SkullPoses, expression: Tensor) -> Motion:
        """Our head's poses under (T, E) expressions."""
        translation = self.scale * poses.translation + np.einsum("tkij,kj->ti", _levers(poses), self.vectors)
        return Motion(
            torch.from_numpy(poses.rotation @ self.turn).float(), torch.from_numpy(translation).float(), expression
        )

    @property
    def turned_deg(self) -> float:
        """Angle between our head's axes and the other's."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.turn) - 1) / 2, -1, 1))))


def unit_m(poses: SkullPoses, seen: Motion) -> float:
    """Metres in the poses' unit of length, which nobody knows: by how far away the landmarks say that the head is."""
    ratio = seen.translation[:, 2].double().numpy() / poses.translation[:, 2]
    found = float(np.median(ratio))
    return found if np.isfinite(found) and found > 0 else 1.0  # a head behind the camera is said elsewhere


def first(poses: SkullPoses, seen: Motion) -> Placement:
    """The placement that agrees best with poses that landmarks alone gave."""
    turns = np.swapaxes(poses.rotation, 1, 2) @ seen.rotation.double().numpy()
    weights = np.ones(len(turns))
    turn = np.eye(3)
    for _ in range(10):
        u, _, vh = np.linalg.svd(np.einsum("t,tij->ij", weights, turns))
        turn = u @ np.diag([1, 1, np.linalg.det(u @ vh)]) @ vh
        weights = 1 / np.maximum(np.linalg.norm(turns - turn, axis=(1, 2)), 0.02)
    columns = _columns(poses)
    goal = seen.translation.double().numpy() - poses.translation
    trust = np.array([1.0, 1.0, _DEPTH_TRUST])
    matrix = np.einsum("tia,i,tib->ab", columns, trust, columns) / len(goal)
    right = np.einsum("tia,i,ti->a", columns, trust, goal) / len(goal)
    prior, usual = _beliefs(poses)
    prior *= 0.01**2
    step = np.linalg.solve(matrix + np.diag(prior), right + prior * usual)
    return Placement(turn, 1 + float(step[0]), step[1:].reshape(-1, 3))


def refine(fit: LandmarkFit, person: Person, poses: SkullPoses, placement: Placement, motion: Motion) -> Placement:
    """One Gauss-Newton step on the placement, the expressions free to follow.

    Args:
        fit: of exactly the poses' frames.
        person: held.
        poses, placement: now.
        motion: what they amount to, with the expressions as they are.
    """
    system = fit.assemble(person, motion, fit.seen, with_person=False)
    blocks, gradient = _without_expression(system.blocks, system.gradient, motion.expression)
    count = len(motion)
    columns = np.zeros((count, RIGID, 4 + 3 * len(placement.vectors)))
    columns[:, :3, :3] = poses.rotation
    columns[:, 3:, 3:] = _columns(poses)
    prior, usual = _beliefs(poses)
    prior = np.concatenate([np.zeros(3), count * fit.weights.identity * prior])
    stray = np.concatenate([np.zeros(3), [placement.scale - 1], placement.vectors.reshape(-1)])
    stray[3:] -= usual
    matrix = np.einsum("tia,tij,tjb->ab", columns, blocks, columns) + np.diag(prior)
    right = np.einsum("tia,ti->a", columns, gradient) + prior * stray
    matrix[np.diag_indices(3)] *= 1 + 1e-6
    step = -np.linalg.solve(matrix, right)
    angle = float(np.linalg.norm(step[:3]))
    turn = axis_angle_to_matrix_np(step[:3] * min(1.0, 0.3 / max(angle, 1e-9))) @ placement.turn
    vectors = placement.vectors + step[4:].reshape(-1, 3)
    return replace(placement, turn=turn, scale=placement.scale + float(step[3]), vectors=vectors)


def _beliefs(poses: SkullPoses) -> tuple[Array, Array]:
    """(1 + 3 (K + 1),) weight of, and what is believed of, how much the scale is above 1, and the vectors."""
    count = 3 * len(poses.usual)
    within = np.concatenate([[_SCALE], np.full(count, _JOINT_M), np.full(3, _ORIGIN_M)])
    return 1 / within**2, np.concatenate([[0.0], poses.usual.reshape(-1), np.zeros(3)])


def _levers(poses: SkullPoses) -> Array:
    """(T, K + 1, 3, 3): what the placement's vectors are multiplied by."""
    return np.concatenate([poses.levers, poses.rotation[:, None]], 1)


def _columns(poses: SkullPoses) -> Array:
    """(T, 3, 1 + 3 (K + 1)) derivative of the translation by scale and vectors."""
    levers = _levers(poses)
    return np.concatenate([poses.translation[..., None], levers.transpose(0, 2, 1, 3).reshape(len(levers), 3, -1)], 2)


def _without_expression(blocks: Tensor, gradient: Tensor, expression: Tensor) -> tuple[Array, Array]:
    """Information (T, 6, 6) and gradient (T, 6) on the pose once the expression has followed, inside its bounds."""
    own = gradient[:, RIGID:]
    held = ((expression <= 0) & (own > 0)) | ((expression >= 1) & (own < 0))
    free = (~held).to(blocks.dtype)
    inner = blocks[:, RIGID:, RIGID:] * free[:, :, None] * free[:, None, :] + torch.diag_embed(1 - free)
    mixed = blocks[:, :RIGID, RIGID:] * free[:, None, :]
    solved = mixed @ torch.cholesky_inverse(torch.linalg.cholesky(inner))
    reduced = blocks[:, :RIGID, :RIGID] - solved @ mixed.transpose(1, 2)
    pulled = gradient[:, :RIGID] - (solved @ (own * free)[..., None])[..., 0]
    return reduced.numpy(), pulled.numpy()
