"""Where rays ask the field, and how what it answers becomes a color.

Sampling must give the numbers of the other backends to the last bit, so its divisions are rounded to nearest and the
launch forbids fusing products into sums.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def least(a, b):
    """The smaller one, or the one that is a number."""
    return tl.where((a < b) | (b != b), a, b)


@triton.jit
def most(a, b):
    """The larger one, or the one that is a number."""
    return tl.where((a > b) | (b != b), a, b)


@triton.jit
def mix(value):
    """A bijection of 32-bit integers. Source: C. Wellons 2018, "lowbias32"."""
    value = (value ^ (value >> 16)) * 0x7FEB352D
    value = (value ^ (value >> 15)) * 0x846CA68B
    return value ^ (value >> 16)


@triton.jit
def to_box(origin, direction, distance, low, high):
    """The place along an axis of the box, 0 to 1."""
    place = tl.div_rn(origin + distance * direction - low, tl.zeros_like(origin + distance) + (high - low))
    return tl.where(place > 0, tl.where(place < 1, place, 1.0), 0.0)


@triton.jit(do_not_specialize=["side", "probes", "samples", "rays"])
def probe(
    origins, directions, near, far, low, high, occupancy, side, probes, samples, min_step, rays,
    pieces, filled, interval, counts, GRID: tl.constexpr, BOUNDED: tl.constexpr, PROBES: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """First pass, a program per block of rays: the occupied pieces' numbers, how many, and how many samples."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = ray < rays
    begin = tl.load(near + ray, mask=live, other=0.0)
    end = tl.load(far + ray, mask=live, other=0.0)
    for axis in tl.static_range(3):
        origin = tl.load(origins + 3 * ray + axis, mask=live, other=0.0)
        direction = tl.load(directions + 3 * ray + axis, mask=live, other=1.0)
        a = tl.div_rn(tl.load(low + axis) - origin, direction)
        b = tl.div_rn(tl.load(high + axis) - origin, direction)
        begin = most(begin, least(a, b))
        end = least(end, most(a, b))
    piece = tl.div_rn(end - begin, tl.zeros_like(end) + probes.to(tl.float32))
    number = tl.arange(0, PROBES)
    hit = live[:, None] & (number < probes)[None, :] & (piece > 0)[:, None]
    if GRID:
        middle = begin[:, None] + (number.to(tl.float32) + 0.5)[None, :] * piece[:, None]
        cell = tl.zeros([BLOCK, PROBES], tl.int32)
        for axis in tl.static_range(3):
            origin = tl.load(origins + 3 * ray + axis, mask=live, other=0.0)[:, None]
            direction = tl.load(directions + 3 * ray + axis, mask=live, other=1.0)[:, None]
            place = to_box(origin, direction, middle, tl.load(low + axis), tl.load(high + axis))
            cell = cell * side + tl.minimum((place * side.to(tl.float32)).to(tl.int32), side - 1)
        hit = hit & (tl.load(occupancy + cell, mask=hit, other=0) != 0)
    rank = tl.cumsum(hit.to(tl.int32), 1)
    tl.store(pieces + (ray * probes)[:, None] + rank - 1, (number[None, :] + 0 * rank).to(tl.int16), mask=hit)
    found = tl.sum(hit.to(tl.int32), 1)
    count = tl.where(found > 0, samples, 0)
    if BOUNDED:
        length = found.to(tl.float32) * piece
        needed = tl.ceil(tl.div_rn(length, tl.zeros_like(length) + min_step))
        # A number too large for an integer is cut before it becomes one.
        needed = tl.where(needed < samples.to(tl.float32), needed, samples.to(tl.float32))
        count = tl.minimum(count, tl.where(found > 0, needed, 0.0).to(tl.int32))
    tl.store(interval + 2 * ray, begin, mask=live)
    tl.store(interval + 2 * ray + 1, piece, mask=live)
    tl.store(filled + ray, found, mask=live)
    tl.store(counts + ray, count.to(tl.int64), mask=live)


@triton.jit(do_not_specialize=["key", "probes", "samples", "rays"])
def place(
    origins, directions, low, high, pieces, filled, interval, offsets, key, probes, samples, rays,
    positions, distances, deltas, ray_index, JITTER: tl.constexpr, SAMPLES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Second pass, a program per block of rays: the samples themselves."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = ray < rays
    start = tl.load(offsets + ray, mask=live, other=0)
    count = (tl.load(offsets + ray + 1, mask=live, other=0) - start).to(tl.int32)
    found = tl.load(filled + ray, mask=live, other=0)
    begin = tl.load(interval + 2 * ray, mask=live, other=0.0)[:, None]
    piece = tl.load(interval + 2 * ray + 1, mask=live, other=0.0)[:, None]
    share = tl.div_rn(found.to(tl.float32), tl.maximum(count, 1).to(tl.float32))[:, None]
    number = tl.arange(0, SAMPLES)[None, :]
    wanted = live[:, None] & (number < count[:, None])
    offset = tl.zeros([BLOCK, SAMPLES], tl.float32) + 0.5
    if JITTER:
        counter = (ray[:, None] * samples + number + 1).to(tl.uint32)
        random = mix(key.to(tl.uint32, bitcast=True) ^ mix(counter))
        offset = (random >> 8).to(tl.float32) * 5.9604644775390625e-08
    along = (number.to(tl.float32) + offset) * share
    which = tl.minimum(along.to(tl.int32), found[:, None] - 1)
    chosen = tl.load(pieces + (ray * probes)[:, None] + which, mask=wanted, other=0).to(tl.float32)
    distance = begin + (chosen + (along - which.to(tl.float32))) * piece
    at = start[:, None] + number
    for axis in tl.static_range(3):
        origin = tl.load(origins + 3 * ray + axis, mask=live, other=0.0)[:, None]
        direction = tl.load(directions + 3 * ray + axis, mask=live, other=1.0)[:, None]
        box = to_box(origin, direction, distance, tl.load(low + axis), tl.load(high + axis))
        tl.store(positions + 3 * at + axis, box, mask=wanted)
    tl.store(distances + at, distance, mask=wanted)
    tl.store(deltas + at, share * piece + 0.0 * offset, mask=wanted)
    tl.store(ray_index + at, ray[:, None] + 0 * number, mask=wanted)


@triton.jit
def opacity(optical):
    """1 - exp(-optical), by its series where that difference would lose digits."""
    series = optical * (1 - optical / 2 * (1 - optical / 3 * (1 - optical / 4 * (1 - optical / 5))))
    return tl.where(optical < 0.05, series, 1 - tl.exp(-optical))


@triton.jit(do_not_specialize=["rays", "samples"])
def composite(
    sigma, rgb, deltas, distances, offsets, rays, samples, stop, out_rgb, out_alpha, out_depth, BLOCK: tl.constexpr
):  # fmt: skip
    """A program per block of rays walks them front to back."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = ray < rays
    start = tl.load(offsets + ray, mask=live, other=0)
    count = tl.minimum(tl.load(offsets + ray + 1, mask=live, other=0), samples) - start
    optical = tl.zeros([BLOCK], tl.float32)
    red = tl.zeros([BLOCK], tl.float32)
    green = tl.zeros([BLOCK], tl.float32)
    blue = tl.zeros([BLOCK], tl.float32)
    alpha = tl.zeros([BLOCK], tl.float32)
    depth = tl.zeros([BLOCK], tl.float32)
    for k in range(tl.max(count, 0)):
        at = start + k
        before = tl.exp(-optical)
        seen = (k < count) & (before >= stop)
        step = tl.load(sigma + at, mask=seen, other=0.0) * tl.load(deltas + at, mask=seen, other=0.0)
        weight = before * opacity(step)
        red += weight * tl.load(rgb + 3 * at, mask=seen, other=0.0)
        green += weight * tl.load(rgb + 3 * at + 1, mask=seen, other=0.0)
        blue += weight * tl.load(rgb + 3 * at + 2, mask=seen, other=0.0)
        alpha += weight
        depth += weight * tl.load(distances + at, mask=seen, other=0.0)
        optical += step
    tl.store(out_rgb + 3 * ray, red, mask=live)
    tl.store(out_rgb + 3 * ray + 1, green, mask=live)
    tl.store(out_rgb + 3 * ray + 2, blue, mask=live)
    tl.store(out_alpha + ray, alpha, mask=live)
    tl.store(out_depth + ray, depth, mask=live)


@triton.jit(do_not_specialize=["rays", "samples"])
def composite_backward(
    sigma, rgb, deltas, distances, offsets, rays, samples, stop, grad_rgb, grad_alpha, grad_depth,
    grad_sigma, grad_color, BLOCK: tl.constexpr,
):  # fmt: skip
    """With w_i = T_i (1 - exp(-s_i)), dL/ds_i = g_i T_{i+1} - sum_{j>i} g_j w_j, where g_i is the gradient of w_i.

    The first walk adds up g_j w_j, the second takes away what lies before; unseen samples keep the zeros they have.
    """
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = ray < rays
    start = tl.load(offsets + ray, mask=live, other=0)
    count = tl.minimum(tl.load(offsets + ray + 1, mask=live, other=0), samples) - start
    red = tl.load(grad_rgb + 3 * ray, mask=live, other=0.0)
    green = tl.load(grad_rgb + 3 * ray + 1, mask=live, other=0.0)
    blue = tl.load(grad_rgb + 3 * ray + 2, mask=live, other=0.0)
    alpha = tl.load(grad_alpha + ray, mask=live, other=0.0)
    depth = tl.load(grad_depth + ray, mask=live, other=0.0)
    behind = tl.zeros([BLOCK], tl.float32)
    longest = tl.max(count, 0)
    for walk in tl.static_range(2):
        optical = tl.zeros([BLOCK], tl.float32)
        for k in range(longest):
            at = start + k
            before = tl.exp(-optical)
            seen = (k < count) & (before >= stop)
            delta = tl.load(deltas + at, mask=seen, other=0.0)
            step = tl.load(sigma + at, mask=seen, other=0.0) * delta
            weight = before * opacity(step)
            grad = alpha + depth * tl.load(distances + at, mask=seen, other=0.0)
            grad += red * tl.load(rgb + 3 * at, mask=seen, other=0.0)
            grad += green * tl.load(rgb + 3 * at + 1, mask=seen, other=0.0)
            grad += blue * tl.load(rgb + 3 * at + 2, mask=seen, other=0.0)
            optical += step
            if walk == 0:
                behind += grad * weight
            else:
                behind -= grad * weight
                tl.store(grad_sigma + at, (grad * tl.exp(-optical) - behind) * delta, mask=seen)
                tl.store(grad_color + 3 * at, red * weight, mask=seen)
                tl.store(grad_color + 3 * at + 1, green * weight, mask=seen)
                tl.store(grad_color + 3 * at + 2, blue * weight, mask=seen)
