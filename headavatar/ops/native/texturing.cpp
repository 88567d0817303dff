// Bilinear reading of maps (H, W, C) whose row 0 is at v = 1.
#include <algorithm>
#include <vector>

#include "common.h"

namespace {

using ha::i64;
constexpr i64 kBands = 32;  // of rows, that backward fills at a time: the even ones together, then the odd ones

struct Map {
  i64 height, width, channels;
};

// The four texels around a place: the first one's row and column, steps to the others, and the place among them.
struct Place {
  i64 row, first, right, down;
  float fx, fy;
  bool inside_x, inside_y;
};

inline Place place_of(const Map& map, const float* uv) {
  const float raw_x = uv[0] * float(map.width) - 0.5f, raw_y = (1.f - uv[1]) * float(map.height) - 0.5f;
  // The order of the arguments sends what is not a number to 0.
  const float x = std::min(std::max(0.f, raw_x), float(map.width - 1));
  const float y = std::min(std::max(0.f, raw_y), float(map.height - 1));
  const i64 column = std::min(i64(x), std::max<i64>(map.width - 2, 0));
  const i64 row = std::min(i64(y), std::max<i64>(map.height - 2, 0));
  return {row, (row * map.width + column) * map.channels, map.width > 1 ? map.channels : 0,
          map.height > 1 ? map.width * map.channels : 0, x - float(column), y - float(row), x == raw_x, y == raw_y};
}

}  // namespace

// maps (H, W, C), uv (N, 2) -> values (N, C)
HA_API void ha_sample_maps(const float* maps, const float* uv, i64 count, i64 height, i64 width, i64 channels,
                           float* values) {
  const Map map{height, width, channels};
#pragma omp parallel for schedule(static)
  for (i64 n = 0; n < count; ++n) {
    const Place p = place_of(map, uv + 2 * n);
    const float *a = maps + p.first, *b = a + p.right, *c = a + p.down, *d = c + p.right;
    const float wa = (1 - p.fx) * (1 - p.fy), wb = p.fx * (1 - p.fy), wc = (1 - p.fx) * p.fy, wd = p.fx * p.fy;
    float* out = values + n * channels;
    for (i64 k = 0; k < channels; ++k) out[k] = (a[k] * wa + b[k] * wb) + (c[k] * wc + d[k] * wd);
  }
}

// Gradient of values -> grad_maps (H, W, C) and grad_uv (N, 2); either may be null
HA_API void ha_sample_maps_backward(const float* maps, const float* uv, const float* grad, i64 count, i64 height,
                                    i64 width, i64 channels, float* grad_maps, float* grad_uv) {
  const Map map{height, width, channels};
  if (grad_uv) {
#pragma omp parallel for schedule(static)
    for (i64 n = 0; n < count; ++n) {
      const Place p = place_of(map, uv + 2 * n);
      const float *a = maps + p.first, *b = a + p.right, *c = a + p.down, *d = c + p.right, *g = grad + n * channels;
      float along_x = 0, along_y = 0;
      for (i64 k = 0; k < channels; ++k) {
        along_x += g[k] * ((b[k] - a[k]) * (1 - p.fy) + (d[k] - c[k]) * p.fy);
        along_y += g[k] * ((c[k] - a[k]) * (1 - p.fx) + (d[k] - b[k]) * p.fx);
      }
      grad_uv[2 * n] = p.inside_x ? along_x * float(width) : 0;
      grad_uv[2 * n + 1] = p.inside_y ? -along_y * float(height) : 0;
    }
  }
  if (!grad_maps) return;
  // A place fills two rows, so bands of two rows or more that are not neighbors can be filled at the same time. Within
  // a band places come in their order: the sums depend on nothing else.
  const i64 rows = std::max<i64>(2, ha::ceil_div(height, kBands)), bands = ha::ceil_div(height, rows);
  std::vector<i64> start(bands + 1, 0);
  std::vector<int32_t> band(count), order(count);
#pragma omp parallel for schedule(static)
  for (i64 n = 0; n < count; ++n) band[n] = int32_t(place_of(map, uv + 2 * n).row / rows);
  for (i64 n = 0; n < count; ++n) ++start[band[n] + 1];
  for (i64 k = 0; k < bands; ++k) start[k + 1] += start[k];
  std::vector<i64> next(start.begin(), start.end() - 1);
  for (i64 n = 0; n < count; ++n) order[next[band[n]]++] = int32_t(n);
#pragma omp parallel for schedule(static)
  for (i64 row = 0; row < height; ++row)
    std::fill(grad_maps + row * width * channels, grad_maps + (row + 1) * width * channels, 0.f);
  for (i64 odd = 0; odd < 2; ++odd) {
#pragma omp parallel for schedule(dynamic, 1)
    for (i64 k = odd; k < bands; k += 2)
      for (i64 at = start[k]; at < start[k + 1]; ++at) {
        const i64 n = order[at];
        const Place p = place_of(map, uv + 2 * n);
        float *a = grad_maps + p.first, *c = a + p.down;
        const float* g = grad + n * channels;
        const float wa = (1 - p.fx) * (1 - p.fy), wb = p.fx * (1 - p.fy), wc = (1 - p.fx) * p.fy, wd = p.fx * p.fy;
        for (i64 j = 0; j < channels; ++j) a[j] += wa * g[j];
        for (i64 j = 0; j < channels; ++j) a[p.right + j] += wb * g[j];
        for (i64 j = 0; j < channels; ++j) c[j] += wc * g[j];
        for (i64 j = 0; j < channels; ++j) c[p.right + j] += wd * g[j];
      }
  }
}
