// The rays of a picture's pixels, and their colors as a picture over a background.
#include <algorithm>
#include <cmath>

#include "common.h"

using ha::i64;

// Unit directions (rows, columns, 3) through the middles of pixels, by a matrix (3, 3) from (u, v, 1), and what the
// matrix gave their lengths (rows, columns).
HA_API void ha_pixel_rays(const float* turn, i64 left, i64 top, i64 columns, i64 rows, float* directions,
                          float* lengths) {
#pragma omp parallel for schedule(static)
  for (i64 y = 0; y < rows; ++y) {
    const float v = float(top + y) + 0.5f;
    for (i64 x = 0; x < columns; ++x) {
      const float u = float(left + x) + 0.5f;
      float axis[3];
      for (int d = 0; d < 3; ++d) axis[d] = u * turn[3 * d] + (v * turn[3 * d + 1] + turn[3 * d + 2]);
      const float length = std::sqrt(axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2]);
      lengths[y * columns + x] = length;
      for (int d = 0; d < 3; ++d) directions[3 * (y * columns + x) + d] = axis[d] / length;
    }
  }
}

// What the rays of a rectangle saw, rgb (rows, columns, 3) over black, alpha and depth (rows, columns), into pictures
// that are `stride` pixels wide, given at the rectangle's first pixel. Distances are divided by lengths.
HA_API void ha_lay_over(const float* rgb, const float* alpha, const float* depth, const float* lengths, i64 columns,
                        i64 rows, const float* background, float unit, float faint, i64 stride, float* out_rgb,
                        float* out_alpha, float* out_depth) {
#pragma omp parallel for schedule(static)
  for (i64 y = 0; y < rows; ++y)
    for (i64 x = 0; x < columns; ++x) {
      const i64 n = y * columns + x, at = y * stride + x;
      const float opacity = alpha[n];
      for (int c = 0; c < 3; ++c)
        out_rgb[3 * at + c] = std::min(std::max(rgb[3 * n + c] + (1.f - opacity) * background[c], 0.f), 1.f);
      out_alpha[at] = opacity;
      out_depth[at] = opacity > faint ? depth[n] / opacity * unit / lengths[n] : 0.f;
    }
}
