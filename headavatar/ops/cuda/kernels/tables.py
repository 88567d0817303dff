"""Blending tables and the optimizer step on them: a program takes a block of parameters of all tables."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["count", "frames"])
def blend(weights, tables, blended, size, count, frames, FRAMES: tl.constexpr, BLOCK: tl.constexpr):
    """weights (B, K) of tables (K, P): blended (B, P). Every table is read once for all frames."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = at < size
    frame = tl.arange(0, FRAMES)
    total = tl.zeros([FRAMES, BLOCK], tl.float32)
    row = tables + at
    for k in range(count):
        weight = tl.load(weights + frame * count + k, mask=frame < frames, other=0.0)
        total += weight[:, None] * tl.load(row, mask=live, other=0.0)[None, :]
        row += size
    there = blended + frame.to(tl.int64)[:, None] * size + at[None, :]
    tl.store(there, total, mask=(frame < frames)[:, None] & live[None, :])


@triton.jit
def moment(start, live, HALF: tl.constexpr):
    """Moments as float32; half ones are bfloat16 seen as 16-bit integers."""
    if HALF:
        bits = tl.load(start, mask=live, other=0).to(tl.uint16, bitcast=True).to(tl.uint32) << 16
        value = bits.to(tl.float32, bitcast=True)
    else:
        value = tl.load(start, mask=live, other=0.0)
    return value


@triton.jit
def put_moment(start, live, value, HALF: tl.constexpr):
    """Write what `moment` reads, rounded to nearest, ties to even; in integers, so that every machine does the same."""
    if HALF:
        bits = value.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        tl.store(start, bits.to(tl.uint16).to(tl.int16, bitcast=True), mask=live)
    else:
        tl.store(start, value, mask=live)


@triton.jit(do_not_specialize=["count", "terms"])
def adam(
    tables, first, second, coefficients, gradients, l1, size, count, terms, rate, correction, beta1, beta2, eps,
    TERMS: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adam on tables (K, P) with the gradient sum_j coefficients[j, k] gradients[j], read once for all tables."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = at < size
    term = tl.arange(0, TERMS)
    summand = (term < terms)[:, None] & live[None, :]
    outer = tl.load(gradients + term.to(tl.int64)[:, None] * size + at[None, :], mask=summand, other=0.0)
    for k in range(count):
        share = tl.load(coefficients + term * count + k, mask=term < terms, other=0.0)
        value = tl.load(tables + at, mask=live, other=0.0)
        penalty = tl.load(l1 + k)
        gradient = tl.sum(share[:, None] * outer, 0)
        gradient += tl.where(value > 0, penalty, tl.where(value < 0, -penalty, 0.0))
        mean = beta1 * moment(first + at, live, HALF) + (1 - beta1) * gradient
        square = beta2 * moment(second + at, live, HALF) + (1 - beta2) * gradient * gradient
        put_moment(first + at, live, mean, HALF)
        put_moment(second + at, live, square, HALF)
        tl.store(tables + at, value - rate * mean / (tl.sqrt(square) * correction + eps), mask=live)
        tables += size
        first += size
        second += size
