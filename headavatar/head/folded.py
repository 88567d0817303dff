"""A head of one identity, posed a frame at a time: what never changes is folded into its rest shape beforehand."""

from __future__ import annotations

import torch
from torch import Tensor

from headavatar import ops
from headavatar.head.model import HeadModel
from headavatar.head.rotations import axis_angle_to_matrix
from headavatar.scene import Camera

ORDER = (1, 2, 3, 0)
"""Of `JOINTS`, in which they turn: jaw, eyeballs, neck."""


class FoldedHead:
    """`HeadModel.posed` before a camera, for single frames and without gradients.

    Args:
        head: the head model.
        identity: (S,) of the person.
        rest: (V, 3) its vertices without an expression, offsets inside; head space, meters.
        axes: (A, V, 3) further displacements before joints turn, meters per unit.
    """

    def __init__(self, head: HeadModel, identity: Tensor, rest: Tensor, axes: Tensor) -> None:
        self._head = head
        self._pivots = head.joint_positions(identity)[list(ORDER)].contiguous()
        # the skull is head space: what turns about the neck is the rest, the other way
        weights = torch.cat([1 - head.weights[:, :1], head.weights[:, 1:]], 1)
        bases = torch.cat([head.expression_basis, axes.to(head.expression_basis)])
        self._shape = ops.pack_shape(rest, bases, weights[:, list(ORDER)])

    @torch.no_grad()
    def before(
        self, camera: Camera, expression: Tensor, rotation: Tensor, translation: Tensor, neck: Tensor, jaw: Tensor,
        eyes: Tensor, along: Tensor, offset: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The vertices of one frame as a camera sees them.

        Args:
            camera: any.
            expression: (1, E) coefficients.
            rotation, translation: (1, 3) head to world, axis-angle in radians and meters.
            neck, jaw, eyes: (1, 3), (1, 3) and (1, 6) axis-angle, radians, as of `HeadModel.vertices`.
            along: (A,) units of the axes.
            offset: (V, 3) added before joints turn, meters.
        Returns:
            (V, 3) camera space, meters; (V, 3) x and y in pixels, depth along the camera's z in meters.
        """
        gaze, turn = self._head.gaze(expression), self._head.jaw_turn(expression)
        parts = [gaze, eyes, jaw, neck, rotation, *([] if turn is None else [turn])]
        matrices = axis_angle_to_matrix(torch.cat(parts, 1).view(-1, 3))
        turned = matrices[4] if turn is None else matrices[4] @ matrices[7]
        turns = torch.stack([turned, matrices[2] @ matrices[0], matrices[3] @ matrices[1], matrices[5].T])
        view = torch.from_numpy(camera.world_to_camera).to(matrices)
        place = view[:3, :3] @ translation[0] + view[:3, 3]
        to_camera = torch.cat([view[:3, :3] @ matrices[6], place[:, None]], 1)
        return ops.pose_shape(
            self._shape, torch.cat([expression[0], along]), turns, self._pivots, to_camera,
            torch.from_numpy(camera.K[:2]).to(matrices), offset,
        )  # fmt: skip
