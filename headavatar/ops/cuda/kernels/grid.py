"""The hash grid on the card: a program takes a block of points and one level."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def frame_of(point, starts, frames):
    """Which frame's table a point uses: the starts that lie at or before it, the first one left out."""
    frame = tl.zeros_like(point)
    for b in range(1, frames):
        frame += (point >= tl.load(starts + b)).to(tl.int32)
    return frame


@triton.jit
def locate(x, point, live, axis: tl.constexpr, scale):
    """The cell along an axis, the place within it, and 1 where moving the point moves that place."""
    value = tl.load(x + 3 * point + axis, mask=live, other=0.0)
    position = tl.minimum(tl.maximum(value, 0.0), 1.0) * scale + 0.5
    cell = tl.floor(position)
    return cell.to(tl.int32), position - cell, ((value >= 0.0) & (value <= 1.0)).to(tl.float32)


@triton.jit
def entry_of(x, y, z, nodes, hashed, mask):
    """A node's entry within its level."""
    dense = x + y * nodes + z * nodes * nodes
    # The primes of the spatial hash, modulo 2^32.
    spread = x.to(tl.uint32) ^ (y.to(tl.uint32) * 2654435761) ^ (z.to(tl.uint32) * 805459861)
    return tl.where(hashed != 0, (spread & mask).to(tl.int32), dense)


@triton.jit(do_not_specialize=["frames", "levels"])
def grid_forward(
    x, table, starts, scales, layout, encoded, frames, parameters, levels, mask,
    F: tl.constexpr, FEATURES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x (N, 3), table (B, P) to encoded (N, levels * F); rows at and behind starts[B] are left as they are."""
    level = tl.program_id(1)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    end = tl.load(starts + frames)
    if tl.program_id(0) * BLOCK >= end:
        return
    live = point < end
    feature = tl.arange(0, FEATURES)[None, :]
    wanted = live[:, None] & (feature < F)
    scale = tl.load(scales + level)
    nodes, first, hashed = tl.load(layout + 3 * level), tl.load(layout + 3 * level + 1), tl.load(layout + 3 * level + 2)
    cx, fx, _ = locate(x, point, live, 0, scale)
    cy, fy, _ = locate(x, point, live, 1, scale)
    cz, fz, _ = locate(x, point, live, 2, scale)
    base = table + frame_of(point, starts, frames).to(tl.int64) * parameters
    total = tl.zeros([BLOCK, FEATURES], tl.float32)
    for corner in tl.static_range(8):
        entry = first + entry_of(cx + (corner & 1), cy + (corner >> 1 & 1), cz + (corner >> 2), nodes, hashed, mask)
        weight = (fx if corner & 1 else 1 - fx) * (fy if corner & 2 else 1 - fy) * (fz if corner & 4 else 1 - fz)
        total += weight[:, None] * tl.load((base + entry * F)[:, None] + feature, mask=wanted, other=0.0)
    tl.store(encoded + ((point.to(tl.int64) * levels + level) * F)[:, None] + feature, total, mask=wanted)


@triton.jit(do_not_specialize=["frames", "levels"])
def grid_backward_table(
    x, grad, starts, scales, layout, grad_table, frames, parameters, levels, mask,
    F: tl.constexpr, FEATURES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add the gradient of encoded (N, levels * F) onto grad_table (B, P), which starts at zero."""
    level = tl.program_id(1)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    end = tl.load(starts + frames)
    if tl.program_id(0) * BLOCK >= end:
        return
    live = point < end
    feature = tl.arange(0, FEATURES)[None, :]
    wanted = live[:, None] & (feature < F)
    scale = tl.load(scales + level)
    nodes, first, hashed = tl.load(layout + 3 * level), tl.load(layout + 3 * level + 1), tl.load(layout + 3 * level + 2)
    cx, fx, _ = locate(x, point, live, 0, scale)
    cy, fy, _ = locate(x, point, live, 1, scale)
    cz, fz, _ = locate(x, point, live, 2, scale)
    base = grad_table + frame_of(point, starts, frames).to(tl.int64) * parameters
    outer = tl.load(
        grad + ((point.to(tl.int64) * levels + level) * F)[:, None] + feature, mask=wanted, other=0.0
    )  # fmt: skip
    for corner in tl.static_range(8):
        entry = first + entry_of(cx + (corner & 1), cy + (corner >> 1 & 1), cz + (corner >> 2), nodes, hashed, mask)
        weight = (fx if corner & 1 else 1 - fx) * (fy if corner & 2 else 1 - fy) * (fz if corner & 4 else 1 - fz)
        tl.atomic_add((base + entry * F)[:, None] + feature, weight[:, None] * outer, mask=wanted, sem="relaxed")


@triton.jit(do_not_specialize=["frames", "levels"])
def grid_backward_points(
    x, table, grad, starts, scales, layout, grad_x, frames, parameters, levels, mask,
    F: tl.constexpr, FEATURES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of encoded (N, levels * F) to x (N, 3); a program takes all levels of its points."""
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    end = tl.load(starts + frames)
    if tl.program_id(0) * BLOCK >= end:
        return
    live = point < end
    feature = tl.arange(0, FEATURES)[None, :]
    wanted = live[:, None] & (feature < F)
    base = table + frame_of(point, starts, frames).to(tl.int64) * parameters
    gx = tl.zeros([BLOCK], tl.float32)
    gy = tl.zeros([BLOCK], tl.float32)
    gz = tl.zeros([BLOCK], tl.float32)
    for level in range(levels):
        scale = tl.load(scales + level)
        nodes, first = tl.load(layout + 3 * level), tl.load(layout + 3 * level + 1)
        hashed = tl.load(layout + 3 * level + 2)
        cx, fx, free_x = locate(x, point, live, 0, scale)
        cy, fy, free_y = locate(x, point, live, 1, scale)
        cz, fz, free_z = locate(x, point, live, 2, scale)
        outer = tl.load(
            grad + ((point.to(tl.int64) * levels + level) * F)[:, None] + feature, mask=wanted, other=0.0
        )  # fmt: skip
        for corner in tl.static_range(8):
            entry = first + entry_of(
                cx + (corner & 1), cy + (corner >> 1 & 1), cz + (corner >> 2), nodes, hashed, mask
            )  # fmt: skip
            value = tl.load((base + entry * F)[:, None] + feature, mask=wanted, other=0.0)
            along = tl.sum(value * outer, 1) * scale
            wx, wy, wz = fx if corner & 1 else 1 - fx, fy if corner & 2 else 1 - fy, fz if corner & 4 else 1 - fz
            gx += (wy * wz * along if corner & 1 else -wy * wz * along) * free_x
            gy += (wx * wz * along if corner & 2 else -wx * wz * along) * free_y
            gz += (wx * wy * along if corner & 4 else -wx * wy * along) * free_z
    tl.store(grad_x + 3 * point, gx, mask=live)
    tl.store(grad_x + 3 * point + 1, gy, mask=live)
    tl.store(grad_x + 3 * point + 2, gz, mask=live)
