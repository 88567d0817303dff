"""Which face is nearest at each pixel: a program takes a face and the pixels of its box."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["width"])
def draw(edges, scales, determinants, boxes, numbers, keys, width, near, BLOCK: tl.constexpr):
    """edges (N, 3, 3), scales (N, 3), determinants (N,) double, boxes (N, 4) of first column, first row, columns and
    pixels, numbers (N,) of the faces; keys (H * W) int64 become the least of depth and face.

    A depth is positive, so that its bits as an integer are in its order.
    """
    n = tl.program_id(0)
    first_column, first_row = tl.load(boxes + 4 * n), tl.load(boxes + 4 * n + 1)
    columns, pixels = tl.load(boxes + 4 * n + 2), tl.load(boxes + 4 * n + 3)
    determinant, number = tl.load(determinants + n), tl.load(numbers + n)
    for start in range(0, pixels, BLOCK):
        offset = start + tl.arange(0, BLOCK)
        row = offset // columns
        x, y = first_column + offset - row * columns, first_row + row
        inside, total = offset < pixels, tl.zeros([BLOCK], tl.float64)
        for k in tl.static_range(3):
            edge = edges + 9 * n + 3 * k + tl.zeros([BLOCK], tl.int32)
            a, b, c = tl.load(edge), tl.load(edge + 1), tl.load(edge + 2)
            value = a * (x.to(tl.float64) + 0.5) + b * (y.to(tl.float64) + 0.5) + c
            # A pixel exactly on an edge belongs to one of the two faces that share it.
            inside &= (value > 0) | ((value == 0) & ((a > 0) | ((a == 0) & (b > 0))))
            total += value * tl.load(scales + 3 * n + k)
        depth = determinant / tl.where(inside, total, 1.0)
        inside &= depth > near
        bits = depth.to(tl.float32).to(tl.int32, bitcast=True).to(tl.int64)
        tl.atomic_min(keys + y * width + x, (bits << 32) | number, mask=inside)
