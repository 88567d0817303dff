"""A texture's network written into a stack of maps, which a plain shader draws."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ... import ops
from ...scene import HeadParams
from ..conditioning import Conditioning
from .conditions import Teller
from .drawing import Layout
from .geometry import Geometry, Poses
from .stack import Stack
from .texture import Texture
from .unwrapped import Texels

FRAMES = 96
"""Frames of training that the network is asked about."""
RIDGE = 1e-3
"""Of the coefficients' mean square: expressions that always come together share what they do."""


@torch.no_grad()
def baked(
    texture: Texture, teller: Teller, geometry: Geometry, layout: Layout, params: HeadParams, view: Tensor, size: int
) -> tuple[Stack, Teller]:
    """The stack whose sums are nearest to the network's colors, texel by texel, over frames of training.

    Args:
        texture, teller: the network, and what it is told.
        geometry, layout: of the head.
        params: of the training frames.
        view: (3, 3) rotation from world to camera.
        size: S, edge of the maps, texels.
    Returns:
        the stack and what it is told of frames.
    """
    device = str(geometry.rest.device)
    coefficients = Conditioning.of(params, True)
    chosen = np.unique(np.linspace(0, len(params) - 1, min(FRAMES, len(params))).round().astype(int))
    some = params[chosen]
    told = torch.from_numpy(coefficients.coefficients(some)).to(device)
    prepared = teller(geometry.head, some, device)
    texels = Texels(layout, size)
    poses, colors = Poses.of(some, device), []
    for frame in range(len(some)):
        normals = ops.vertex_normals(geometry.posed(poses[[frame]]), layout.faces)[0] @ view.T
        films = texture.prepare(prepared[frame : frame + 1])
        colors.append(texture.colors([texels.places(normals)], films)[0].reshape(-1))
    # ridge regression, the base free: (told^T told + penalty) tables = told^T colors
    gram = told.double().T @ told.double()
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    penalty[0, 0] = 0
    mixing = torch.linalg.solve(gram + penalty, told.double().T).float()
    stack = Stack.fresh(told.shape[1], size, device)
    maps = stack.tables.view(len(stack.tables), size, size, -1)
    maps[:, texels.where, :3] = (mixing @ torch.stack(colors)).reshape(len(mixing), -1, 3)
    rows, columns = texels.nearest()
    stack.tables.copy_(maps[:, rows, columns].reshape(stack.tables.shape))
    return stack, Teller(None, coefficients)
