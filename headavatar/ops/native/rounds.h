// Which pixels of a picture are followed and which lie between others: three rounds, from coarse to fine.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "common.h"

namespace ha {

// What pixels are so far.
struct Picture {
  i64 columns, rows;
  float agreement;             // a pixel whose neighbors differ by no more may lie between them
  float *rgb, *alpha, *depth;  // (rows, columns, 3), (rows, columns) each
};

constexpr float kBend = 1.f / 20.f;  // share of the agreement that a cubic surface and a plane may differ by
constexpr i64 kMargin = 3;           // pixels so near to the picture's edges lack neighbors

// Pixels of a picture in the order of their rounds: first every second one of every second row and the picture's edges,
// then the middles of four of these, then what lies between two of each.
inline int round_of(i64 x, i64 y, i64 columns, i64 rows) {
  if (std::min({x, y, columns - 1 - x, rows - 1 - y}) < kMargin) return 0;
  return x % 2 == 0 && y % 2 == 0 ? 0 : (x % 2 == y % 2 ? 1 : 2);
}

// The 16 pixels of earlier rounds around one, the nearest four first: half steps of -3, -1, 1 and 3 along two axes, each
// weighted as the cubic through four values weights them at their middle, -1 9 9 -1 over 16.
struct Around {
  i64 offsets[16];
  float weights[16];

  Around(i64 first, i64 second) {
    const i64 steps[4] = {-1, 1, -3, 3};
    int n = 0;
    for (int far : {0, 1, 2, 3})  // whether the first and the second step are long
      for (int k = 0; k < 4; ++k, ++n) {
        offsets[n] = (steps[(far & 1) * 2 + k % 2] * first + steps[(far & 2) + k / 2] * second) / 2;
        weights[n] = (far & 1 ? -0.0625f : 0.5625f) * (far & 2 ? -0.0625f : 0.5625f);
      }
  }
};

// Makes a pixel what a cubic surface through its neighbors has there, if the nearest agree and a plane nearly has the
// same: where the surface is bent no more than that, its error is smaller yet.
inline bool interpolate(const Picture& a, i64 ray, const Around& around) {
  struct Channel {
    float* values;
    i64 stride;
  };
  const Channel channels[5] = {{a.rgb + 3 * ray, 3}, {a.rgb + 3 * ray + 1, 3}, {a.rgb + 3 * ray + 2, 3},
                               {a.alpha + ray, 1}, {a.depth + ray, 1}};
  float mean[5], cubic[5];
  for (int c = 4; c >= 0; --c) {
    const auto [values, stride] = channels[c];
    float low, high, sum;
    low = high = sum = values[around.offsets[0] * stride];
    for (int k = 1; k < 4; ++k) {
      const float x = values[around.offsets[k] * stride];
      low = std::min(low, x), high = std::max(high, x), sum += x;
    }
    if (high - low > a.agreement * (c == 4 ? high : 1.f)) return false;
    mean[c] = 0.25f * sum;
  }
  for (int c = 0; c < 5; ++c) {
    const auto [values, stride] = channels[c];
    cubic[c] = 0.f;
    for (int k = 0; k < 16; ++k) cubic[c] += around.weights[k] * values[around.offsets[k] * stride];
    if (c < 4 && std::fabs(cubic[c] - mean[c]) > kBend * a.agreement) return false;
  }
  for (int c = 0; c < 5; ++c) *channels[c].values = std::max(cubic[c], 0.f);
  a.alpha[ray] = std::min(a.alpha[ray], 1.f);
  for (int c = 0; c < 3; ++c) a.rgb[3 * ray + c] = std::min(a.rgb[3 * ray + c], a.alpha[ray]);  // no light from nothing
  return true;
}

// The rays that a round has to follow; interpolates the others.
inline void rays_of(const Picture& a, int round, std::vector<int32_t>& rays) {
  const i64 columns = a.columns, rows = a.rows;
  const Around corners(2, 2 * columns), sides(columns + 1, columns - 1);
  std::vector<i64> counts(rows);
  rays.resize(rows * columns);
#pragma omp parallel for schedule(dynamic, 8)
  for (i64 y = 0; y < rows; ++y) {
    int32_t* row = &rays[y * columns];
    for (i64 x = 0; x < columns; ++x) {
      const i64 ray = y * columns + x;
      if (round_of(x, y, columns, rows) != round) continue;
      if (round && interpolate(a, ray, round == 1 ? corners : sides)) continue;
      row[counts[y]++] = int32_t(ray);
    }
  }
  i64 total = 0;
  for (i64 y = 0; y < rows; ++y) {
    std::memmove(&rays[total], &rays[y * columns], counts[y] * sizeof(int32_t));
    total += counts[y];
  }
  rays.resize(total);
}

}  // namespace ha
