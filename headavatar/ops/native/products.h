// Products of a network's matrices with a tile's rows, on vectors: a vector holds one feature of W points.
#pragma once

#include <vector>

#include "tile_rows.h"

namespace ha {

struct Keep {
  vf operator()(vf value, i64) const { return value; }
};
struct Relu {
  vf operator()(vf value, i64) const { return vmax(value, vf{}); }
};
struct Gate {  // lets a gradient through where the activation is positive
  const float* activation;
  vf operator()(vf value, i64 at) const { return select(loadf(activation + at) > 0.0f, value, vf{}); }
};

struct Zero {  // what sums start at
  vf operator()(i64) const { return vf{}; }
};
struct From {
  const float* rows;
  vf operator()(i64 at) const { return loadf(rows + at); }
};

inline i64 stride_of(i64 inputs) { return ceil_div(inputs, 16) * 16; }

}  // namespace ha

#ifdef __AMX_BF16__
#include "products_amx.h"
#else

namespace ha {

constexpr i64 kRowBlock = 8;            // rows that results are padded to
constexpr int kRows = W == 16 ? 8 : 4;  // output features a register block
constexpr int kVectors = 3;             // vectors of points a register block
static_assert(kTile % (kVectors * W) == 0, "a tile is a whole number of register blocks");

inline i64 padded(i64 rows) { return ceil_div(rows, kRowBlock) * kRowBlock; }

// What a thread sets up before it multiplies: nothing here.
struct MatrixUnit {
  MatrixUnit() {}
};

// A matrix, rearranged: blocks of kRows outputs, input after input, so that products read it in order. Rest is 0.
using Matrix = std::vector<float>;

inline void pack(const float* weight, i64 outputs, i64 inputs, i64 row_stride, i64 column_stride, Matrix& packed) {
  packed.assign(padded(outputs) * inputs, 0.f);
  for (i64 o = 0; o < outputs; ++o)
    for (i64 i = 0; i < inputs; ++i)
      packed[(o / kRows * inputs + i) * kRows + o % kRows] = weight[o * row_stride + i * column_stride];
}

// out[o][n] = finish(start + sum_i weight[o][i] in[i][n]) for one tile; writes padded(outputs) rows.
template <class Finish, class Start = Zero>
inline void multiply(const Matrix& packed, const float* in, float* out, i64 outputs, i64 inputs, Finish finish,
                     Start start = {}) {
  for (i64 n = 0; n < kTile; n += kVectors * W)
    for (i64 o = 0; o < outputs; o += kRows) {
      vf sum[kRows][kVectors];
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) sum[r][v] = start((o + r) * kTile + n + v * W);
      const float* weight = packed.data() + o * inputs;
      for (i64 i = 0; i < inputs; ++i, weight += kRows) {
        vf x[kVectors];
        for (int v = 0; v < kVectors; ++v) x[v] = loadf(in + i * kTile + n + v * W);
        for (int r = 0; r < kRows; ++r) {
          const vf w = splat(weight[r]);
          for (int v = 0; v < kVectors; ++v) sum[r][v] += w * x[v];
        }
      }
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) {
          const i64 at = (o + r) * kTile + n + v * W;
          store(out + at, finish(sum[r][v], at));
        }
    }
}

template <int V>
inline void outer_block(const float* grad, const float* columns, i64 stride, float* out) {
  vf sum[4][V] = {};
  for (i64 n = 0; n < kTile; ++n) {
    vf x[V];
    for (int v = 0; v < V; ++v) x[v] = loadf(columns + n * stride + v * W);
    for (int r = 0; r < 4; ++r) {
      const vf g = splat(grad[r * kTile + n]);
      for (int v = 0; v < V; ++v) sum[r][v] += g * x[v];
    }
  }
  for (int r = 0; r < 4; ++r)
    for (int v = 0; v < V; ++v) store(out + r * stride + v * W, loadf(out + r * stride + v * W) + sum[r][v]);
}

// out[o][i] += sum_n grad[o][n] in[i][n] over one tile; out has padded(outputs) rows of stride_of(inputs).
inline void add_outer(const float* grad, i64 outputs, const float* in, i64 inputs, float* columns, float* out) {
  const i64 stride = stride_of(inputs), vectors = ceil_div(inputs, W);
  transpose(in, inputs, columns, stride);
  for (i64 o = 0; o < outputs; o += 4) {
    const float* rows = grad + o * kTile;
    i64 v = 0;
    while (v < vectors) {
      const i64 left = vectors - v;
      float* block = out + o * stride + v * W;
      const float* from = columns + v * W;
      if (left == 3 || left > 4) {
        outer_block<3>(rows, from, stride, block);
        v += 3;
      } else if (left >= 2) {
        outer_block<2>(rows, from, stride, block);
        v += 2;
      } else {
        outer_block<1>(rows, from, stride, block);
        v += 1;
      }
    }
  }
}

}  // namespace ha

#endif
