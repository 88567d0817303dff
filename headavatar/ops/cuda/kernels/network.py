"""Small networks on the card: a program takes a block of samples through all layers.

Matrices (outputs, inputs) lie one after the other in one flat vector. The first may take a second input beside the
samples' own: a row of `features`, chosen by `ray_index`. What becomes of the last layer is its head: 0 leaves it, 1
takes the sigmoid, 2 also writes a density from column 0. Widths are padded to powers of two, at least 16, with zeros:
PI, PE, PH and PO are the padded IN, EXTRA, HIDDEN and OUT.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def matrix(start, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STRIDE: tl.constexpr, R: tl.constexpr, C: tl.constexpr):
    """ROWS x COLUMNS of a matrix whose rows are STRIDE long, padded to R x C."""
    row, column = tl.arange(0, R)[:, None], tl.arange(0, C)[None, :]
    return tl.load(start + row * STRIDE + column, mask=(row < ROWS) & (column < COLUMNS), other=0.0)


@triton.jit
def rows(start, row, live, COLUMNS: tl.constexpr, STRIDE: tl.constexpr, C: tl.constexpr):
    """COLUMNS of some rows, padded to C."""
    column = tl.arange(0, C)[None, :]
    return tl.load(start + row[:, None] * STRIDE + column, mask=live[:, None] & (column < COLUMNS), other=0.0)


@triton.jit
def put_rows(start, row, live, value, COLUMNS: tl.constexpr, STRIDE: tl.constexpr, C: tl.constexpr):
    """Write what `rows` reads."""
    column = tl.arange(0, C)[None, :]
    tl.store(start + row[:, None] * STRIDE + column, value, mask=live[:, None] & (column < COLUMNS))


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)) without overflow."""
    small = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, small) / (1 + small)


@triton.jit
def softplus(x):
    """log(1 + exp(x)), by the logarithm's series where that sum would lose digits."""
    small = tl.exp(-tl.abs(x))
    series = small * (1 - small * (0.5 - small * (0.3333333333 - small * 0.25)))
    return tl.maximum(x, 0.0) + tl.where(small < 0.02, series, tl.log(1 + small))


@triton.jit(do_not_specialize=["frames", "n", "rays"])
def net_forward(
    x, features, ray_index, weights, hidden, out, sigma, starts, frames, n, rays, shift, scale,
    SKIP: tl.constexpr, STRIDE: tl.constexpr, IN: tl.constexpr, EXTRA: tl.constexpr, HIDDEN: tl.constexpr,
    OUT: tl.constexpr, LAYERS: tl.constexpr, HEAD: tl.constexpr, KEEP: tl.constexpr, PI: tl.constexpr,
    PE: tl.constexpr, PH: tl.constexpr, PO: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x (n, STRIDE), its columns from SKIP on, to out (n, OUT); rows at and behind starts[frames] are left alone.

    With KEEP the hidden layers after ReLU are written to hidden (LAYERS - 1, n, HIDDEN).
    """
    end = tl.minimum(tl.load(starts + frames), n)
    if tl.program_id(0) * BLOCK >= end:
        return
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    live = row < end
    FIRST: tl.constexpr = OUT if LAYERS == 1 else HIDDEN
    F: tl.constexpr = PO if LAYERS == 1 else PH
    value = tl.dot(
        rows(x + SKIP, row, live, IN, STRIDE, PI),
        tl.trans(matrix(weights, FIRST, IN, IN + EXTRA, F, PI)), input_precision=PRECISION,
    )  # fmt: skip
    if EXTRA > 0:
        ray = tl.load(ray_index + row, mask=live, other=0).to(tl.int64)
        value += tl.dot(
            rows(features, ray, live & (ray >= 0) & (ray < rays), EXTRA, EXTRA, PE),
            tl.trans(matrix(weights + IN, FIRST, EXTRA, IN + EXTRA, F, PE)), input_precision=PRECISION,
        )  # fmt: skip
    weights += FIRST * (IN + EXTRA)
    for layer in tl.static_range(LAYERS - 1):
        value = tl.maximum(value, 0.0)
        if KEEP:
            put_rows(hidden, row, live, value, HIDDEN, HIDDEN, PH)
            hidden += n.to(tl.int64) * HIDDEN
        if layer == LAYERS - 2:
            value = tl.dot(value, tl.trans(matrix(weights, OUT, HIDDEN, HIDDEN, PO, PH)), input_precision=PRECISION)
        else:
            value = tl.dot(value, tl.trans(matrix(weights, HIDDEN, HIDDEN, HIDDEN, PH, PH)), input_precision=PRECISION)
        weights += HIDDEN * HIDDEN
    if HEAD == 1:
        value = sigmoid(value)
    if HEAD == 2:
        first = tl.sum(tl.where(tl.arange(0, PO)[None, :] == 0, value, 0.0), 1)
        tl.store(sigma + row, scale * softplus(first + shift), mask=live)
    put_rows(out, row, live, value, OUT, OUT, PO)


@triton.jit(do_not_specialize=["frames", "n"])
def net_backward(
    grad, grad_sigma, out, weights, hidden, delta, grad_hidden, grad_x, starts, frames, n, shift, scale,
    SKIP: tl.constexpr, STRIDE: tl.constexpr, IN: tl.constexpr, EXTRA: tl.constexpr, HIDDEN: tl.constexpr,
    OUT: tl.constexpr, LAYERS: tl.constexpr, HEAD: tl.constexpr, WITH_X: tl.constexpr, PI: tl.constexpr,
    PH: tl.constexpr, PO: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From grad (n, OUT) to that of every layer's sums: delta (n, OUT), grad_hidden (LAYERS - 1, n, HIDDEN).

    With head 2 column 0 of grad is not read: it follows from grad_sigma. With WITH_X the gradient of x is written to
    grad_x, laid out as x is.
    """
    end = tl.minimum(tl.load(starts + frames), n)
    if tl.program_id(0) * BLOCK >= end:
        return
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    live = row < end
    value = rows(grad, row, live, OUT, OUT, PO)
    if HEAD == 1:
        color = rows(out, row, live, OUT, OUT, PO)
        value = value * color * (1 - color)
    if HEAD == 2:
        raw = tl.load(out + row * OUT, mask=live, other=0.0)
        density = tl.load(grad_sigma + row, mask=live, other=0.0) * scale * sigmoid(raw + shift)
        value = tl.where(tl.arange(0, PO)[None, :] == 0, density[:, None], value)
    put_rows(delta, row, live, value, OUT, OUT, PO)
    FIRST: tl.constexpr = HIDDEN * (IN + EXTRA)
    for back in tl.static_range(LAYERS - 1):
        layer = LAYERS - 2 - back
        start = weights + FIRST + layer * HIDDEN * HIDDEN
        if back == 0:
            value = tl.dot(value, matrix(start, OUT, HIDDEN, HIDDEN, PO, PH), input_precision=PRECISION)
        else:
            value = tl.dot(value, matrix(start, HIDDEN, HIDDEN, HIDDEN, PH, PH), input_precision=PRECISION)
        there = layer * n.to(tl.int64) * HIDDEN
        value = tl.where(rows(hidden + there, row, live, HIDDEN, HIDDEN, PH) > 0, value, 0.0)
        put_rows(grad_hidden + there, row, live, value, HIDDEN, HIDDEN, PH)
    if WITH_X:
        if LAYERS == 1:
            value = tl.dot(value, matrix(weights, OUT, IN, IN + EXTRA, PO, PI), input_precision=PRECISION)
        else:
            value = tl.dot(value, matrix(weights, HIDDEN, IN, IN + EXTRA, PH, PI), input_precision=PRECISION)
        put_rows(grad_x + SKIP, row, live, value, IN, STRIDE, PI)


@triton.jit
def gram(
    left, right, choice, target, end, limit, LEFT: tl.constexpr, RIGHT: tl.constexpr, STRIDE: tl.constexpr,
    TARGET: tl.constexpr, L: tl.constexpr, R: tl.constexpr, CHOOSE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """left (n, LEFT) transposed times right (n, STRIDE), or its rows `choice`, over this program's blocks of rows."""
    total = tl.zeros([L, R], tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(end, BLOCK), tl.num_programs(0)):
        row = (block * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
        live = row < end
        other, there = row, live
        if CHOOSE:
            other = tl.load(choice + row, mask=live, other=0).to(tl.int64)
            there = live & (other >= 0) & (other < limit)
        a = rows(left, row, live, LEFT, LEFT, L)
        total += tl.dot(tl.trans(a), rows(right, other, there, RIGHT, STRIDE, R), input_precision=PRECISION)
    row, column = tl.arange(0, L)[:, None], tl.arange(0, R)[None, :]
    tl.store(target + row * TARGET + column, total, mask=(row < LEFT) & (column < RIGHT))


@triton.jit(do_not_specialize=["frames", "n", "rays", "size"])
def net_weights(
    x, features, ray_index, hidden, delta, grad_hidden, partial, starts, frames, n, rays, size,
    SKIP: tl.constexpr, STRIDE: tl.constexpr, IN: tl.constexpr, EXTRA: tl.constexpr, HIDDEN: tl.constexpr,
    OUT: tl.constexpr, LAYERS: tl.constexpr, PI: tl.constexpr, PE: tl.constexpr, PH: tl.constexpr, PO: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program's share of the gradient of the flat weights, one row of partial (programs, size)."""
    end = tl.minimum(tl.load(starts + frames), n)
    target = partial + tl.program_id(0) * size
    FIRST: tl.constexpr = OUT if LAYERS == 1 else HIDDEN
    F: tl.constexpr = PO if LAYERS == 1 else PH
    sums = delta if LAYERS == 1 else grad_hidden
    gram(sums, x + SKIP, ray_index, target, end, n, FIRST, IN, STRIDE, IN + EXTRA, F, PI, False, PRECISION, BLOCK)
    if EXTRA > 0:
        gram(
            sums, features, ray_index, target + IN, end, rays, FIRST, EXTRA, EXTRA, IN + EXTRA, F, PE, True, PRECISION,
            BLOCK,
        )  # fmt: skip
    target += FIRST * (IN + EXTRA)
    for layer in tl.static_range(1, LAYERS):
        step = n.to(tl.int64) * HIDDEN
        inputs = hidden + (layer - 1) * step
        if layer == LAYERS - 1:
            gram(delta, inputs, ray_index, target, end, n, OUT, HIDDEN, HIDDEN, HIDDEN, PO, PH, False, PRECISION, BLOCK)
        else:
            gram(
                grad_hidden + layer * step, inputs, ray_index, target, end, n, HIDDEN, HIDDEN, HIDDEN, HIDDEN, PH, PH,
                False, PRECISION, BLOCK,
            )  # fmt: skip
        target += HIDDEN * HIDDEN
