// A field's networks in 16-bit numbers, for pictures: twice the products a cycle of 32-bit floats. A row of a tile holds
// two features of each point, the second in the upper half. What a unit can reach at most is known from its weights and
// from what the table holds, and 32767 stands for that: nothing overflows, for any point.
#pragma once

#include <cmath>
#include <vector>

#include "nets.h"

namespace ha {

#if HA_WIDTH == 8

constexpr float kTop = 32767.f;
constexpr int32_t kHalf = 1 << 15;  // makes cutting off the lower half round to the nearest
constexpr i64 kFixedVectors = 2;    // vectors of points a register block: sums, inputs and products fit the registers
static_assert(kTile % (kFixedVectors * W) == 0, "a tile is a whole number of register blocks");

// Two rows of numbers as one of pairs.
inline __m256i paired(__m256i lower, __m256i upper) {
  return _mm256_blend_epi16(lower, _mm256_slli_epi32(upper, 16), 0xAA);
}

// rows of floats, times a factor a row, into half as many rows of pairs; an odd last one is paired with 0.
inline void to_pairs(const float* in, const float* factors, i64 rows, int32_t* out) {
  for (i64 r = 0; r < rows; r += 2)
    for (i64 n = 0; n < kTile; n += W) {
      const __m256i a = _mm256_cvtps_epi32((__m256)(loadf(in + r * kTile + n) * factors[r]));
      const __m256i b = r + 1 < rows ? _mm256_cvtps_epi32((__m256)(loadf(in + (r + 1) * kTile + n) * factors[r + 1]))
                                     : _mm256_setzero_si256();
      store(out + r / 2 * kTile + n, (vi)paired(_mm256_and_si256(a, _mm256_set1_epi32(0xFFFF)), b));
    }
}

// What sums that were to be rounded stand for.
inline vf to_floats(__m256i sum, float unit) {
  return (vf)_mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_set1_epi32(kHalf))) * unit;
}

// Adds to four outputs' sums over the pairs of 2 W points; apart from its callers, so that the sums stay in registers.
[[gnu::noinline]] inline void add_products(const int32_t* weight, const int32_t* in, i64 pairs,
                                           __m256i (*sum)[kFixedVectors]) {
  __m256i a0 = sum[0][0], b0 = sum[0][1], a1 = sum[1][0], b1 = sum[1][1];
  __m256i a2 = sum[2][0], b2 = sum[2][1], a3 = sum[3][0], b3 = sum[3][1];
  const auto add = [](__m256i to, __m256i x, __m256i w) { return _mm256_add_epi32(to, _mm256_madd_epi16(x, w)); };
  for (i64 i = 0; i < pairs; ++i, weight += 4, in += kTile) {
    const __m256i x = (__m256i)load<vi>(in), y = (__m256i)load<vi>(in + W);
    const __m256i w0 = _mm256_set1_epi32(weight[0]), w1 = _mm256_set1_epi32(weight[1]);
    a0 = add(a0, x, w0), b0 = add(b0, y, w0);
    a1 = add(a1, x, w1), b1 = add(b1, y, w1);
    const __m256i w2 = _mm256_set1_epi32(weight[2]), w3 = _mm256_set1_epi32(weight[3]);
    a2 = add(a2, x, w2), b2 = add(b2, y, w2);
    a3 = add(a3, x, w3), b3 = add(b3, y, w3);
  }
  sum[0][0] = a0, sum[0][1] = b0, sum[1][0] = a1, sum[1][1] = b1;
  sum[2][0] = a2, sum[2][1] = b2, sum[3][0] = a3, sum[3][1] = b3;
}

// A layer: pairs of weights in blocks of four outputs, and what a sum of 1 stands for.
struct FixedLayer {
  i64 pairs, outputs;
  std::vector<int32_t> packed;
  std::vector<float> unit;  // per output, of its sum
  std::vector<float> top;   // per output, what 32767 stands for once the sum's lower half is cut off

  // `order` names the matrix's row of each output; tops are what 32767 stands for in each input, `start` what a sum's
  // first value is at most.
  FixedLayer(const float* weights, i64 row_stride, const std::vector<float>& tops, const std::vector<i64>& order,
             const std::vector<float>& start)
      : pairs(ceil_div(i64(tops.size()), 2)), outputs(i64(order.size())) {
    packed.assign(ceil_div(outputs, 4) * 4 * pairs, 0);
    for (i64 o = 0; o < outputs; ++o) {
      const float* row = weights + order[o] * row_stride;
      float sum = start.empty() ? 0.f : start[order[o]], most = 0;
      for (size_t i = 0; i < tops.size(); ++i) {
        sum += std::fabs(row[i] * tops[i]);
        most = std::max(most, std::fabs(row[i] * tops[i]));
      }
      const float scale = std::min(65000.f / std::max(sum, 1e-20f), kTop / std::max(most, 1e-20f));
      unit.push_back(1.f / (scale * kTop));
      top.push_back(65536.f / scale);
      for (size_t i = 0; i < tops.size(); ++i) {
        int32_t& both = packed[(o / 4 * pairs + i64(i) / 2) * 4 + o % 4];
        const uint32_t weight = uint16_t(int32_t(std::lrint(row[i] * tops[i] * scale)));
        both = int32_t(i % 2 ? (uint32_t(both) & 0xFFFFu) | weight << 16 : weight);
      }
    }
  }

  // Calls finish(output, point, sums) for each block of four outputs and W points; sums begin at start(output, point).
  template <class Start, class Finish>
  void run(const int32_t* in, Start start, Finish finish) const {
    for (i64 n = 0; n < kTile; n += kFixedVectors * W)
      for (i64 o = 0; o < outputs; o += 4) {
        __m256i sum[4][kFixedVectors];
        for (int r = 0; r < 4; ++r)
          for (i64 v = 0; v < kFixedVectors; ++v) sum[r][v] = start(o + r, n + v * W);
        add_products(packed.data() + o * pairs, in + n, pairs, sum);
        for (i64 v = 0; v < kFixedVectors; ++v) {
          const __m256i four[4] = {sum[0][v], sum[1][v], sum[2][v], sum[3][v]};
          finish(o, n + v * W, four);
        }
      }
  }
};

struct Rounding {
  __m256i operator()(i64, i64) const { return _mm256_set1_epi32(kHalf); }
};

// Sums into two rows of pairs, negative ones as 0 if they are rectified.
struct ToPairs {
  int32_t* rows;
  bool rectified;

  void operator()(i64 o, i64 n, const __m256i* four) const {
    for (int r = 0; r < 4; r += 2) {
      __m256i a = four[r], b = four[r + 1];
      if (rectified) {
        a = _mm256_max_epi32(a, _mm256_setzero_si256());
        b = _mm256_max_epi32(b, _mm256_setzero_si256());
      }
      store(rows + (o + r) / 2 * kTile + n, (vi)_mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, 0xAA));
    }
  }
};

// Density and color networks. The first is asked for its geometry features before its density, so that pairs of these
// are the second's input as they lie.
struct FixedField {
  std::vector<float> factors;  // of the encoded features
  std::vector<FixedLayer> sigma, color;
  std::vector<float> view_factors;  // of what the view gives to the color network's first sums, in their upper halves
  i64 geometry, rows;               // rows of pairs that the widest layer needs

  FixedField(const GridArgs& grid, const NetArgs& sigma_net, const NetArgs& color_net, i64 view)
      : geometry(sigma_net.sizes[sigma_net.layers] - 1) {
    std::vector<float> tops;
    for (int level = 0; level < grid.levels; ++level)
      for (int f = 0; f < grid.features; ++f) {
        vf most = {};
        float top = 1e-20f;
        const i64 first = grid.offsets[level] * grid.features, last = grid.offsets[level + 1] * grid.features;
        if (f == 0) {
          i64 i = first;
          for (; i + W <= last; i += W) most = vmax(most, vmax(loadf(grid.table + i), -loadf(grid.table + i)));
          for (int lane = 0; lane < W; ++lane) top = std::max(top, most[lane]);
          for (; i < last; ++i) top = std::max(top, std::fabs(grid.table[i]));
        } else {
          top = tops.back();
        }
        tops.push_back(top);
        factors.push_back(0.99999f * kTop / top);  // weights of corners may add up to a bit more than 1
      }
    rows = ceil_div(i64(tops.size()), 2);
    for (int l = 0; l < sigma_net.layers; ++l) {
      std::vector<i64> order;
      const bool last = l + 1 == sigma_net.layers;
      for (i64 o = 0; o < sigma_net.sizes[l + 1]; ++o) order.push_back(last ? (o < geometry ? o + 1 : 0) : o);
      sigma.emplace_back(sigma_net.weights[l], sigma_net.sizes[l], tops, order, std::vector<float>());
      tops = sigma.back().top;
      rows = std::max(rows, ceil_div(sigma_net.sizes[l + 1], 4) * 2);
    }
    tops.resize(geometry);
    for (int l = 0; l < color_net.layers; ++l) {
      std::vector<i64> order;
      std::vector<float> start;
      for (i64 o = 0; o < color_net.sizes[l + 1]; ++o) {
        order.push_back(o);
        float squares = 0;
        for (i64 d = 0; l == 0 && d < view; ++d) {
          const float weight = color_net.weights[0][o * color_net.sizes[0] + geometry + d];
          squares += weight * weight;
        }
        start.push_back(std::sqrt(squares * float(view) / 12.5f));  // squares of harmonics add up to view / 4 pi
      }
      color.emplace_back(color_net.weights[l], color_net.sizes[l], tops, order, start);
      if (l == 0)
        for (float top : color[0].top) view_factors.push_back(kTop / top);
      tops = color.back().top;
      rows = std::max(rows, ceil_div(color_net.sizes[l + 1], 4) * 2);
    }
  }

  // raw (kTile,) densities and rgb (3 rows) before their activations; views are pairs of rows; scratch holds 2 * rows.
  void run(const float* encoded, const int32_t* views, int32_t* scratch, float* raw, float* rgb) const {
    int32_t *in = scratch, *out = scratch + rows * kTile;
    to_pairs(encoded, factors.data(), i64(factors.size()), in);
    for (size_t l = 0; l + 1 < sigma.size(); ++l, std::swap(in, out)) sigma[l].run(in, Rounding(), ToPairs{out, true});
    const FixedLayer& last = sigma.back();
    last.run(in, Rounding(), [&](i64 o, i64 n, const __m256i* four) {
      ToPairs{out, false}(o, n, four);
      if (geometry >= o && geometry < o + 4)
        store(raw + n, to_floats(four[geometry - o], last.unit[geometry]));
    });
    std::swap(in, out);
    const auto seen = [views](i64 o, i64 n) {
      const __m256i both = (__m256i)load<vi>(views + o / 2 * kTile + n);
      const __m256i upper = o % 2 ? _mm256_and_si256(both, _mm256_set1_epi32(~0xFFFF)) : _mm256_slli_epi32(both, 16);
      return _mm256_or_si256(upper, _mm256_set1_epi32(kHalf));
    };
    for (size_t l = 0; l < color.size(); ++l, std::swap(in, out)) {
      const FixedLayer& layer = color[l];
      if (l + 1 < color.size()) {
        const ToPairs finish{out, true};
        l ? layer.run(in, Rounding(), finish) : layer.run(in, seen, finish);
        continue;
      }
      const auto finish = [&](i64 o, i64 n, const __m256i* four) {
        for (i64 c = o; c < std::min<i64>(o + 4, 3); ++c)
          store(rgb + c * kTile + n, to_floats(four[c - o], layer.unit[c]));
      };
      l ? layer.run(in, Rounding(), finish) : layer.run(in, seen, finish);
    }
  }
};

#endif

}  // namespace ha
