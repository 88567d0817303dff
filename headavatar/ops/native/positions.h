// Gradient of the points that were looked up in a hash grid.
#pragma once

#include "grid.h"

namespace ha {

// Per corner and point, the dot product of the entry with the gradient of what was looked up.
template <int F>
inline void corner_products(const float* entries, const Corners& c, const vf* g, vf* products) {
  alignas(64) int32_t index[8][W];
  alignas(64) float grad[F][W], product[8][W];
  for (int k = 0; k < 8; ++k) store(index[k], c.index[k]);
  for (int f = 0; f < F; ++f) store(grad[f], g[f]);
  for (int k = 0; k < 8; ++k)
    for (int lane = 0; lane < W; ++lane) {
      const float* entry = entries + i64(index[k][lane]) * F;
      float sum = 0;
      for (int f = 0; f < F; ++f) sum += entry[f] * grad[f][lane];
      product[k][lane] = sum;
    }
  for (int k = 0; k < 8; ++k) products[k] = loadf(product[k]);
}

// Rows of grad are those of a tile as encode_level writes them. A point outside the box was clamped: its gradient is 0.
template <int F>
void position_gradient(const GridArgs& grid, const float* table, const Tile& tile, const float* soa,
                       const float* grad) {
  alignas(64) float sums[3][kTile] = {};
  for (int level = 0; level < grid.levels; ++level) {
    const float* entries = table + grid.offsets[level] * F;
    const float scale = grid.scales[level];
    for (i64 n = 0; n < tile.count; n += W) {
      Corners c;
      find_corners(grid, level, soa, n, c);
      vf g[F], p[8];
      for (int f = 0; f < F; ++f) g[f] = loadf(grad + (level * F + f) * kTile + n);
      corner_products<F>(entries, c, g, p);
      // Bit d of a corner's number steps along axis d, so the slope along it is the difference of corners k and k | d,
      // weighted as the other two axes say.
      for (int d = 0; d < 3; ++d) {
        const int axis = 1 << d, u = 1 << (d + 1) % 3, v = 1 << (d + 2) % 3;
        const vf fu = c.fraction[(d + 1) % 3], fv = c.fraction[(d + 2) % 3];
        const vf near = (p[axis] - p[0]) * (1.0f - fu) + (p[axis | u] - p[u]) * fu;
        const vf far = (p[axis | v] - p[v]) * (1.0f - fu) + (p[axis | u | v] - p[u | v]) * fu;
        store(sums[d] + n, loadf(sums[d] + n) + scale * (near * (1.0f - fv) + far * fv));
      }
    }
  }
  for (i64 n = 0; n < tile.count; ++n)
    for (int d = 0; d < 3; ++d) {
      const i64 at = 3 * (tile.start + n) + d;
      grid.grad_x[at] = grid.x[at] >= 0.f && grid.x[at] <= 1.f ? sums[d][n] : 0.f;
    }
}

}  // namespace ha
