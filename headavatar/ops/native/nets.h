// Small networks on tiles: activations are kept feature after feature, a vector holds one feature of W points.
#pragma once

#include <algorithm>
#include <vector>

#include "simd.h"

namespace ha {

constexpr int kRows = W == 16 ? 8 : 4;  // output features a register block
constexpr int kVectors = 3;             // vectors of points a register block
static_assert(kTile % (kVectors * W) == 0, "a tile is a whole number of register blocks");

inline i64 padded(i64 rows) { return ceil_div(rows, 8) * 8; }

// Rearranged matrix: blocks of kRows outputs, input after input, so that products read it in order. Rest is 0.
inline void pack(const float* weight, i64 outputs, i64 inputs, i64 row_stride, i64 column_stride,
                 std::vector<float>& packed) {
  packed.assign(padded(outputs) * inputs, 0.f);
  for (i64 o = 0; o < outputs; ++o)
    for (i64 i = 0; i < inputs; ++i)
      packed[(o / kRows * inputs + i) * kRows + o % kRows] = weight[o * row_stride + i * column_stride];
}

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

// out[o][n] = finish(start + sum_i weight[o][i] in[i][n]) for one tile; writes padded(outputs) rows.
template <class Finish, class Start = Zero>
inline void multiply(const float* packed, const float* in, float* out, i64 outputs, i64 inputs, Finish finish,
                     Start start = {}) {
  for (i64 n = 0; n < kTile; n += kVectors * W)
    for (i64 o = 0; o < outputs; o += kRows) {
      vf sum[kRows][kVectors];
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) sum[r][v] = start((o + r) * kTile + n + v * W);
      const float* weight = packed + o * inputs;
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

#if HA_WIDTH >= 8
// An 8 x 8 block, rows to columns; changes a.
inline void transpose8(__m256* a, __m256* out) {
  __m256 b[8];
  for (int k = 0; k < 8; k += 2) {
    b[k] = _mm256_unpacklo_ps(a[k], a[k + 1]);
    b[k + 1] = _mm256_unpackhi_ps(a[k], a[k + 1]);
  }
  for (int k = 0; k < 8; k += 4) {
    a[k] = _mm256_shuffle_ps(b[k], b[k + 2], 0x44);
    a[k + 1] = _mm256_shuffle_ps(b[k], b[k + 2], 0xEE);
    a[k + 2] = _mm256_shuffle_ps(b[k + 1], b[k + 3], 0x44);
    a[k + 3] = _mm256_shuffle_ps(b[k + 1], b[k + 3], 0xEE);
  }
  for (int k = 0; k < 4; ++k) {
    out[k] = _mm256_permute2f128_ps(a[k], a[k + 4], 0x20);
    out[k + 4] = _mm256_permute2f128_ps(a[k], a[k + 4], 0x31);
  }
}
#endif

// Rows of a tile into columns: out[n][r], stride floats a point; rows past the last are 0.
inline void transpose(const float* in, i64 rows, float* out, i64 stride) {
  i64 r = 0;
#if HA_WIDTH >= 8
  for (; r + 8 <= rows; r += 8)
    for (i64 n = 0; n < kTile; n += 8) {
      __m256 a[8], b[8];
      for (int k = 0; k < 8; ++k) a[k] = _mm256_loadu_ps(in + (r + k) * kTile + n);
      transpose8(a, b);
      for (int k = 0; k < 8; ++k) _mm256_storeu_ps(out + (n + k) * stride + r, b[k]);
    }
#endif
  for (i64 n = 0; n < kTile; ++n)
    for (i64 k = r; k < stride; ++k) out[n * stride + k] = k < rows ? in[k * kTile + n] : 0.f;
}

// Vectors of points into rows of a tile: out[r][n] = from(n)[r], a multiple of 8 rows.
template <class Source>
inline void collect_rows(Source from, i64 rows, float* out) {
#if HA_WIDTH >= 8
  for (i64 n = 0; n < kTile; n += 8) {
    const float* source[8];
    for (int k = 0; k < 8; ++k) source[k] = from(n + k);
    for (i64 r = 0; r < rows; r += 8) {
      __m256 a[8], b[8];
      for (int k = 0; k < 8; ++k) a[k] = _mm256_loadu_ps(source[k] + r);
      transpose8(a, b);
      for (int k = 0; k < 8; ++k) _mm256_storeu_ps(out + (r + k) * kTile + n, b[k]);
    }
  }
#else
  for (i64 n = 0; n < kTile; ++n) {
    const float* source = from(n);
    for (i64 r = 0; r < rows; ++r) out[r * kTile + n] = source[r];
  }
#endif
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

inline i64 stride_of(i64 inputs) { return ceil_div(inputs, 16) * 16; }

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

// A network with its matrices rearranged for both directions, and where its activations lie in a tile's rows.
struct Net {
  const NetArgs* args;
  std::vector<std::vector<float>> forward, backward;
  std::vector<i64> rows;        // first row of each layer's output, from the network's own first row
  std::vector<i64> grad_start;  // of each layer's matrix in a piece's gradient
  i64 row_count = 0, grad_size = 0, widest = 0;
  i64 own_inputs;  // of the first layer, that `run` reads; what the others give is where its sums start

  Net(const NetArgs& a, bool with_backward, i64 extra_rows = 0, i64 other_inputs = 0)
      : args(&a), own_inputs(a.sizes[0] - other_inputs) {
    forward.resize(a.layers);
    backward.resize(with_backward ? a.layers : 0);
    for (int l = 0; l < a.layers; ++l) {
      const i64 inputs = a.sizes[l], outputs = a.sizes[l + 1];
      if (with_backward) pack(a.weights[l], inputs, outputs, 1, inputs, backward[l]);
      pack(a.weights[l], outputs, l ? inputs : own_inputs, inputs, 1, forward[l]);
      rows.push_back(row_count);
      row_count += padded(outputs + (l + 1 == a.layers ? extra_rows : 0));
      grad_start.push_back(grad_size);
      grad_size += padded(outputs) * stride_of(inputs);
      widest = std::max({widest, stride_of(inputs), padded(outputs)});
    }
  }

  float* output(float* tile) const { return tile + rows.back() * kTile; }

  void run(const float* in, float* tile) const { run_from(in, tile, Zero()); }

  // The same where the first layer's sums start at something.
  template <class Start>
  void run_from(const float* in, float* tile, Start start) const {
    if (args->layers == 1)
      multiply(forward[0].data(), in, tile, args->sizes[1], own_inputs, Keep(), start);
    else
      multiply(forward[0].data(), in, tile, args->sizes[1], own_inputs, Relu(), start);
    for (int l = 1; l < args->layers; ++l) {
      in = tile + rows[l - 1] * kTile;
      float* out = tile + rows[l] * kTile;
      if (l + 1 < args->layers)
        multiply(forward[l].data(), in, out, args->sizes[l + 1], args->sizes[l], Relu());
      else
        multiply(forward[l].data(), in, out, args->sizes[l + 1], args->sizes[l], Keep());
    }
  }

  // grad holds the gradient of the output and is overwritten, scratch is as large; columns is for add_outer.
  // grad_in gets the gradient of the first grad_inputs input rows, unless it is null.
  void run_backward(const float* in, const float* tile, float* grad, float* scratch, float* columns, float* sums,
                    float* grad_in, i64 grad_inputs) const {
    for (int l = args->layers - 1; l >= 0; --l) {
      const i64 inputs = args->sizes[l], outputs = args->sizes[l + 1];
      const float* layer_in = l ? tile + rows[l - 1] * kTile : in;
      if (sums) add_outer(grad, outputs, layer_in, inputs, columns, sums + grad_start[l]);
      if (l) {
        multiply(backward[l].data(), grad, scratch, inputs, outputs, Gate{layer_in});
        std::swap(grad, scratch);
      } else if (grad_in) {
        multiply(backward[l].data(), grad, grad_in, grad_inputs, outputs, Keep());
      }
    }
  }

  // Adds a piece's gradients up into the matrices' own; the first piece sets them.
  void collect(const float* sums, bool first) const {
    for (int l = 0; l < args->layers; ++l) {
      const i64 inputs = args->sizes[l], outputs = args->sizes[l + 1], stride = stride_of(inputs);
      for (i64 o = 0; o < outputs; ++o)
        for (i64 i = 0; i < inputs; ++i) {
          float& out = args->grads[l][o * inputs + i];
          out = (first ? 0.f : out) + sums[grad_start[l] + o * stride + i];
        }
    }
  }
};

// Backward work is cut into pieces with sums of their own, added in order: by the number of tiles, not of threads.
inline i64 piece_count(i64 tiles) { return std::max<i64>(1, std::min<i64>(64, ceil_div(tiles, 8))); }

}  // namespace ha
