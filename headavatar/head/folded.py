"""A head of one identity, posed a frame at a time: what never changes is folded into its rest shape beforehand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from headavatar import ops
from headavatar.head.model import HeadModel
from headavatar.head.rotations import axis_angle_to_matrix_np
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
        self, camera: Camera, params: HeadParams, along: Array, offset: Tensor | None = None
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
        # A few numbers, for which torch's calls take longer than the vertices do.
        expression = params.expression[0]
        parts = [expression @ self._turns, params.eyes[0], params.jaw[0], params.neck[0], params.rotation[0]]
        gaze_left, gaze_right, opened, left, right, jaw, neck, turn = axis_angle_to_matrix_np(
            np.concatenate(parts).reshape(-1, 3)
        )
        view = np.asarray(camera.world_to_camera, np.float64)
        place = view[:3, :3] @ params.translation[0] + view[:3, 3]
        given = (
            np.concatenate([expression, along]), np.stack([jaw @ opened, left @ gaze_left, right @ gaze_right, neck.T]),
            np.concatenate([view[:3, :3] @ turn, place[:, None]], 1), camera.K[:2],
        )  # fmt: skip
        device = self._pivots.device
        coefficients, turns, to_camera, projection = (
            torch.from_numpy(values.astype(np.float32)).to(device) for values in given
        )
        return ops.pose_shape(self._shape, coefficients, turns, self._pivots, to_camera, projection, offset)
