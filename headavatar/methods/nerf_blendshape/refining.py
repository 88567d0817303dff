"""Colors of single pixels of a radiance field, with gradients to what pose and expression are off by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ... import ops
from ...head.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ...scene import Camera, HeadParams
from ..conditioning import pose_of
from ..residuals import Residual, coefficients, pose_shares
from .field import Posed
from .marching import composite_of, shade
from .proxy import in_front, mixed
from .rays import Cube, RayFrames

if TYPE_CHECKING:
    from .avatar import NerfBlendshapeAvatar


def colors_at(
    avatar: NerfBlendshapeAvatar, params: HeadParams, camera: Camera, pixels: Tensor, residual: Residual
) -> Tensor:
    """(N, 3) colors over white; see `methods.base.Refinable`."""
    device = avatar.occupied.device
    origins, directions, length = RayFrames.of(params, camera, avatar.cube, str(device)).rays(
        0, pixels.to(device), camera.width
    )
    origins, directions = moved_rays(avatar.cube, origins, directions, residual, 0)
    field, share = avatar.seen_from(origins[0])
    posed = _posed(avatar, params, residual)
    follow = lambda cells, far: shade(  # noqa: E731
        field, posed, origins, directions, [len(pixels)], cells, samples=avatar.samples,
        cube_side=avatar.cube.side, spacing_m=avatar.spacing_m, far=far,
    )  # fmt: skip
    seen = avatar.shown(composite_of(follow(avatar.cells, None)), origins, directions) if share < 1 else None
    if share > 0:
        assert avatar.proxy is not None
        # What stands behind the field stays where the tracked pose has it: its smooth colors tell no pose.
        layer = avatar.layer(params, camera, Posed(posed.blended, None if posed.warp is None else posed.warp.detach()))
        per_m = length.to(device) / avatar.cube.side
        behind = layer.at(pixels.to(device))
        alone = composite_of(follow(avatar.proxy.trusted, behind.depth * per_m))
        field_alone = avatar.shown(alone, origins, directions)
        seen = mixed(seen, in_front(field_alone, behind, per_m), share)
    assert seen is not None
    return seen.rgb + (1 - seen.alpha[:, None])


def moved_rays(
    cube: Cube, origins: Tensor, directions: Tensor, residual: Residual, frame: int
) -> tuple[Tensor, Tensor]:
    """Rays (R, 3) in the cube as the residual of a frame shifts them."""
    as_tensor = lambda a: torch.as_tensor(a, dtype=torch.float32, device=origins.device)  # noqa: E731
    axes, center = as_tensor(cube.axes), as_tensor(cube.center)
    placed, turned = residual.seen_from((origins - 0.5) * cube.side @ axes + center, directions @ axes, frame)
    return (placed - center) @ axes.T / cube.side + 0.5, turned @ axes.T


def _posed(avatar: NerfBlendshapeAvatar, params: HeadParams, residual: Residual) -> Posed:
    """What the frame makes of the field; carries gradients to the residual."""
    device = avatar.occupied.device
    tracked = torch.from_numpy(avatar.conditioning.expressions(params)).to(device)
    pose = torch.from_numpy(pose_of(params)).to(device)
    turned, placed = residual.moved(axis_angle_to_matrix(pose[:, :3]), pose[:, 3:])
    pose = torch.cat([matrix_to_axis_angle(turned), placed], 1)
    expression = tracked if residual.expression is None else tracked + residual.expression.to(device)
    blended = ops.blend_tables(coefficients(avatar.conditioning, expression, pose), avatar.field.tables)
    if avatar.warp is None:
        return Posed(blended)
    warp = avatar.warp
    low, high = (torch.as_tensor(side, dtype=torch.float32, device=device) for side in (warp.low, warp.high))
    learned = warp.learned(pose_shares(pose, low, high)) if warp.learns else None
    held = (torch.as_tensor(side, device=device) for side in avatar.expression_range)
    return Posed(blended, warp.grids(expression.clamp(*held), learned))
