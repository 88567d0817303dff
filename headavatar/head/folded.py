"""A head of one identity, posed a frame at a time: what never changes is folded into its rest shape beforehand."""

from __future__ import annotations

import torch
from torch import Tensor

from headavatar.head.model import JOINTS, HeadModel
from headavatar.head.rotations import axis_angle_to_matrix


class FoldedHead:
    """`HeadModel.vertices` for single frames, without gradients.

    Args:
        head: the head model.
        identity: (S,) of the person.
        rest: (V, 3) its vertices without an expression, offsets inside; head space, meters.
    """

    def __init__(self, head: HeadModel, identity: Tensor, rest: Tensor) -> None:
        self._head, self._rest = head, rest.contiguous()
        basis = head.expression_basis
        self._moving = torch.nonzero((basis != 0).any(2).any(0))[:, 0]
        self._basis = basis[:, self._moving].flatten(1).T.contiguous()  # a product reads its rows one after the other
        self._joints = head.joint_positions(identity)
        # the skull is head space: what turns about the neck is the rest, the other way
        weights = torch.cat([1 - head.weights[:, :1], head.weights[:, 1:]], 1)
        turned = [torch.nonzero(weights[:, joint])[:, 0] for joint in range(len(JOINTS))]
        self._turned = [(index, weights[index, joint, None]) for joint, index in enumerate(turned)]

    @torch.no_grad()
    def vertices(
        self, expression: Tensor, neck: Tensor, jaw: Tensor, eyes: Tensor, offset: Tensor | None = None
    ) -> Tensor:
        """The vertices of one frame.

        Args:
            expression: (1, E) coefficients.
            neck, jaw, eyes: (1, 3), (1, 3) and (1, 6) axis-angle, radians, as of `HeadModel.vertices`.
            offset: (V, 3) added before joints turn, meters.
        Returns:
            (V, 3) head space, meters.
        """
        points = self._rest.clone() if offset is None else self._rest + offset
        points.index_add_(0, self._moving, torch.mv(self._basis, expression[0]).view(-1, 3))
        gaze, turn = self._head.gaze(expression)[0], self._head.jaw_turn(expression)
        vectors = [gaze[:3], gaze[3:], eyes[0, :3], eyes[0, 3:], jaw[0], neck[0], *([] if turn is None else [turn[0]])]
        rotations = axis_angle_to_matrix(torch.stack(vectors))
        first = rotations[4] if turn is None else rotations[4] @ rotations[6]
        turns = {1: first, 2: rotations[2] @ rotations[0], 3: rotations[3] @ rotations[1], 0: rotations[5].T}
        for joint, rotation in turns.items():
            index, weight = self._turned[joint]
            pivot = self._joints[joint]
            chosen = points[index]
            points.index_add_(0, index, ((chosen - pivot) @ rotation.T - (chosen - pivot)) * weight)
        return points
