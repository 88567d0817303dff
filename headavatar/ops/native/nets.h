// Small networks on tiles, forward and backward.
#pragma once

#include <algorithm>
#include <vector>

#include "products.h"

namespace ha {

// A network with its matrices rearranged for both directions, and where its activations lie in a tile's rows.
struct Net {
  const NetArgs* args;
  std::vector<Matrix> forward, backward;
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
      multiply(forward[0], in, tile, args->sizes[1], own_inputs, Keep(), start);
    else
      multiply(forward[0], in, tile, args->sizes[1], own_inputs, Relu(), start);
    for (int l = 1; l < args->layers; ++l) {
      in = tile + rows[l - 1] * kTile;
      float* out = tile + rows[l] * kTile;
      if (l + 1 < args->layers)
        multiply(forward[l], in, out, args->sizes[l + 1], args->sizes[l], Relu());
      else
        multiply(forward[l], in, out, args->sizes[l + 1], args->sizes[l], Keep());
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
        multiply(backward[l], grad, scratch, inputs, outputs, Gate{layer_in});
        std::swap(grad, scratch);
      } else if (grad_in) {
        multiply(backward[l], grad, grad_in, grad_inputs, outputs, Keep());
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
