"""Which pixels of a picture lie between their neighbors, in plain torch."""

from __future__ import annotations

import torch

from headavatar.ops.compositing import Composite

BEND = 1 / 20
"""Share of the agreement that a cubic surface and a plane through the neighbors may differ by."""
MARGIN = 3
"""Pixels so near to the picture's edges lack neighbors."""
_STEPS = {-3: -1 / 16, -1: 9 / 16, 1: 9 / 16, 3: -1 / 16}
"""The cubic through four values, at their middle: half steps to them, and their weights."""


def between_neighbors(seen: Composite, columns: int, agreement: float) -> Composite:
    """A picture whose pixels lie between sixteen neighbors where these agree; see `ops.render_rays`."""
    values = torch.cat([seen.rgb, seen.alpha[:, None], seen.depth[:, None]], 1).reshape(-1, columns, 5)
    rows = len(values)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    y, x = y.to(values.device), x.to(values.device)
    inner = (torch.minimum(y, rows - 1 - y) >= MARGIN) & (torch.minimum(x, columns - 1 - x) >= MARGIN)
    odd = (y % 2 == 1) & (x % 2 == 1)
    for chosen, axes in ((odd, ((0, 2), (2, 0))), ((y + x) % 2 == 1, ((1, 1), (1, -1)))):
        at_y, at_x = torch.nonzero(chosen & inner, as_tuple=True)
        cubic, nearest = values.new_zeros(len(at_y), 5), []
        for first, weight in _STEPS.items():
            for second, other in _STEPS.items():
                dy, dx = ((first * axes[0][k] + second * axes[1][k]) // 2 for k in range(2))
                cubic += weight * other * values[at_y + dy, at_x + dx]
                if abs(first) + abs(second) == 2:
                    nearest.append(values[at_y + dy, at_x + dx])
        around = torch.stack(nearest)
        most, span = around.amax(0), around.amax(0) - around.amin(0)
        agree = (span[:, :4] <= agreement).all(1) & (span[:, 4] <= agreement * most[:, 4])
        agree &= ((cubic - around.mean(0)).abs()[:, :4] <= BEND * agreement).all(1)
        cubic.clamp_min_(0)[:, 3].clamp_max_(1)
        cubic[:, :3] = cubic[:, :3].minimum(cubic[:, 3:4])  # no light from nothing
        values[at_y[agree], at_x[agree]] = cubic[agree]
    flat = values.reshape(-1, 5)
    return Composite(flat[:, :3].contiguous(), flat[:, 3].contiguous(), flat[:, 4].contiguous())
