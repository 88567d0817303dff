"""Colors of single pixels of a mesh avatar, with gradients to what pose and expression are off by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...head.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ...scene import Camera, HeadParams
from ..residuals import Residual, coefficients
from .conditions import raw_conditions
from .drawing import paint
from .geometry import Poses, project

if TYPE_CHECKING:
    from .avatar import NeuralHeadAvatar


def colors_at(
    avatar: NeuralHeadAvatar, params: HeadParams, camera: Camera, pixels: Tensor, residual: Residual
) -> Tensor:
    """(N, 3) colors over white; see `methods.base.Refinable`."""
    device = avatar.geometry.rest.device
    poses = changed(Poses.of(params, device), residual)
    world = avatar.geometry.posed(poses)
    seen = avatar.layout.see(world, project(world, camera), camera)
    told = _told(avatar, params, poses)
    prepared, over = avatar.look.prepare(told), avatar.covered(told)
    rgb, _ = paint(avatar.layout, avatar.look, seen, prepared, torch.ones(3, device=device), over)
    return rgb[0].reshape(-1, 3)[pixels.to(device)]


def changed(poses: Poses, residual: Residual) -> Poses:
    """Poses with residuals on top, B each; carries gradients to the residuals."""
    turned, placed = residual.moved(axis_angle_to_matrix(poses.rotation), poses.translation)
    expression = poses.expression
    if residual.expression is not None:
        expression = expression + residual.expression.to(expression.device)
    return replace(poses, rotation=matrix_to_axis_angle(turned), translation=placed, expression=expression)


def _told(avatar: NeuralHeadAvatar, params: HeadParams, poses: Poses) -> Tensor:
    """What the texture is told of the frame, with gradients to its pose and expression."""
    teller, geometry = avatar.teller, avatar.geometry
    if teller.conditions is not None:
        conditions = teller.conditions
        return conditions(
            raw_conditions(
                geometry.head, geometry.identity, poses.expression, poses.jaw, poses.rotation, conditions.expressive
            )
        )
    known = teller.coefficients
    assert known is not None
    expression = poses.expression
    if known.recorded:  # another tracker's coefficients, which no residual of ours touches
        expression = torch.from_numpy(known.expressions(params)).to(expression.device)
    return coefficients(known, expression, torch.cat([poses.rotation, poses.translation], 1))
