"""Which pixels of a picture are means of their neighbors, in plain torch."""

from __future__ import annotations

import torch

from headavatar.ops.compositing import Composite

_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_SIDES = ((-1, 0), (0, -1), (0, 1), (1, 0))


def with_means(seen: Composite, columns: int, agreement: float) -> Composite:
    """A picture whose pixels are means of four neighbors where these agree; see `ops.render_rays`."""
    values = torch.cat([seen.rgb, seen.alpha[:, None], seen.depth[:, None]], 1).reshape(-1, columns, 5)
    rows = len(values)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    y, x = y.to(values.device), x.to(values.device)
    inner = (y > 0) & (y < rows - 1) & (x > 0) & (x < columns - 1)
    odd = (y % 2 == 1) & (x % 2 == 1)
    for chosen, neighbors in ((odd, _CORNERS), ((y + x) % 2 == 1, _SIDES)):
        at_y, at_x = torch.nonzero(chosen & inner, as_tuple=True)
        around = torch.stack([values[at_y + dy, at_x + dx] for dy, dx in neighbors])
        most, span = around.amax(0), around.amax(0) - around.amin(0)
        agree = (span[:, :4] <= agreement).all(1) & (span[:, 4] <= agreement * most[:, 4])
        values[at_y[agree], at_x[agree]] = around.mean(0)[agree]
    flat = values.reshape(-1, 5)
    return Composite(flat[:, :3].contiguous(), flat[:, 3].contiguous(), flat[:, 4].contiguous())
