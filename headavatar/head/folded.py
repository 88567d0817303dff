"""A head of one identity, posed a frame at a time: what never changes is folded into its rest shape beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from headavatar import ops
from headavatar.head.model import HeadModel
from headavatar.head.rotations import turn_of, turned_after
from headavatar.scene import Array, Camera, HeadParams

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
        self._folds = len(head.expression_basis) + len(axes)
        self._pivots = head.joint_positions(identity)[list(ORDER)].contiguous()
        # the skull is head space: what turns about the neck is the rest, the other way
        weights = torch.cat([1 - head.weights[:, :1], head.weights[:, 1:]], 1)
        bases = torch.cat([head.expression_basis, axes.to(head.expression_basis)])
        self._shape = ops.pack_shape(rest, bases, weights[:, list(ORDER)])
        units = torch.eye(len(head.expression_basis)).to(identity)
        jaw = head.jaw_turn(units)
        turns = torch.cat([head.gaze(units), torch.zeros_like(head.gaze(units)[:, :3]) if jaw is None else jaw], 1)
        self._turns = turns.cpu().numpy()
        """(E, 9) how a unit of each expression turns the eyeballs and the jaw."""

    @torch.no_grad()
    def before(
        self, camera: Camera, params: HeadParams, along: Sequence[float], offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The vertices of one frame as a camera sees them.

        Args:
            camera: any.
            params: of one frame; its identity is not used.
            along: (A,) units of the axes.
            offset: (V, 3) added before joints turn, meters.
        Returns:
            (V, 3) camera space, meters; (V, 3) x and y in pixels, depth along the camera's z in meters.
        """
        # A few numbers, for which torch's and numpy's calls take longer than the vertices do.
        expression = params.expression[0]
        left, right, opened = _triples(expression @ self._turns)
        neck, (left_eye, right_eye), jaw = params.neck[0].tolist(), _triples(params.eyes[0]), params.jaw[0].tolist()
        turn, place = params.rotation[0].tolist(), params.translation[0].tolist()
        world = camera.world_to_camera.tolist()
        numbers = [*expression.tolist(), *along, *turned_after(turn_of(*jaw), turn_of(*opened))]
        numbers += turned_after(turn_of(*left_eye), turn_of(*left))
        numbers += turned_after(turn_of(*right_eye), turn_of(*right))
        numbers += turn_of(-neck[0], -neck[1], -neck[2])
        view = [number for row in world[:3] for number in row[:3]]
        columns, moved = turned_after(view, turn_of(*turn)), turned_after(view, place)
        for row in range(3):
            numbers += *columns[3 * row : 3 * row + 3], moved[row] + world[row][3]
        numbers += camera.K[:2].ravel().tolist()
        given = torch.from_numpy(np.array(numbers, np.float32)).to(self._pivots.device)
        coefficients, turns, to_camera, projection = given.split((self._folds, 36, 12, 6))
        return ops.pose_shape(
            self._shape, coefficients, turns.view(4, 3, 3), self._pivots, to_camera.view(3, 4), projection.view(2, 3),
            offset,
        )  # fmt: skip


def _triples(values: Array) -> list[list[float]]:
    triples: list[list[float]] = values.reshape(-1, 3).tolist()
    return triples
