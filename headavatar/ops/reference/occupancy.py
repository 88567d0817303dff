"""Torch twin of the occupancy march."""

from __future__ import annotations

import torch


def march(
    origins: torch.Tensor, directions: torch.Tensor, occupied: torch.Tensor, samples: int, reach: float, spacing: float,
    jitter: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """See `ops.occupancy.march_occupied`.

    Returns:
        positions (N, 3), deltas (N,), distances (N,), ray_offsets (R + 1,) int64.
    """
    grid = occupied.shape[0]
    tick = 1.0 / grid
    # Where the ray is inside the cube.
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    low, high = -origins / safe, (1.0 - origins) / safe
    near = torch.minimum(low, high).amax(1).clamp_min(0.0)
    far = torch.maximum(low, high).amin(1)
    ticks = int(3**0.5 * grid) + 1
    distance = near[:, None] + (torch.arange(ticks, device=origins.device) + 0.5) * tick  # (R, K)
    points = origins[:, None] + distance[..., None] * directions[:, None]
    cells = (points * grid).floor().to(torch.int64)
    inside = (distance < far[:, None]) & ((cells >= 0) & (cells < grid)).all(-1)
    cells = cells.clamp(0, grid - 1)
    hit = inside & occupied[cells[..., 0], cells[..., 1], cells[..., 2]]

    order = hit.cumsum(1)  # the n-th occupied tick has order n
    found = order[:, -1].clamp_max(max(1, int(reach / tick)))
    count = torch.ceil(found * tick / spacing).to(torch.int64).clamp(1, samples)
    count = torch.where(found > 0, count, torch.zeros_like(count))
    ray_offsets = torch.zeros(len(origins) + 1, dtype=torch.int64, device=origins.device)
    torch.cumsum(count, 0, out=ray_offsets[1:])

    ray = torch.repeat_interleave(torch.arange(len(origins), device=origins.device), count)
    place = torch.arange(len(ray), device=origins.device) - ray_offsets[ray]
    along = (place + jitter[ray]) / count[ray] * found[ray]  # in occupied ticks
    along = torch.minimum(along, found[ray] - 1e-3)
    whole = along.floor()
    # The tick whose order is whole + 1 is the first one at or beyond it.
    first = torch.searchsorted(order[ray], (whole + 1).to(torch.int64)[:, None], right=False)[:, 0]
    distances = near[ray] + (first + (along - whole)) * tick
    positions = (origins[ray] + distances[:, None] * directions[ray]).clamp(0.0, 1.0)
    deltas = found[ray] * tick / count[ray]
    return positions, deltas, distances, ray_offsets
