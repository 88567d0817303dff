// Arguments of the vectorised kernels. The structs are the ABI: structs.py mirrors them.
#pragma once

#include "common.h"

namespace ha {

// Tables (K, P) into B blended ones.
struct BlendArgs {
  const float* weights;  // (B, K)
  const void* tables;    // (K, P) float, or bfloat16 where nothing is trained
  float* blended;        // (B, P); its gradient in blend_backward
  float* grad_weights;   // (B, K) or null
  float* grad_tables;    // (K, P) or null
  i64 frames, count, size;
  int32_t bfloat16;
};

// One Adam step on (K, P) tables whose gradient is sum_j coefficients[j] (outer) gradients[j].
struct AdamArgs {
  float* tables;                  // (K, P)
  void* first;                    // (K, P) float or bfloat16
  void* second;                   // (K, P) float or bfloat16
  const float* coefficients;      // (J, K)
  const float* const* gradients;  // J pointers to (P,)
  const float* l1;                // (K,)
  i64 count, size, terms;
  float rate, correction, beta1, beta2, eps;
  int32_t bfloat16;
};

// A hash grid's layout, and points cut into frames.
struct GridArgs {
  const float* x;            // (N, 3)
  const float* table;        // (B, P)
  float* encoded;            // (N, levels * features); its gradient in grid_backward
  float* grad_table;         // (B, P) or null
  float* grad_x;             // (N, 3) or null
  const i64* frame_offsets;  // (B + 1,)
  const float* scales;       // (levels,)
  const int32_t* nodes;      // (levels,)
  const i64* offsets;        // (levels + 1,)
  i64 frames;
  int32_t levels, features, log2_table;
};

// Weight matrices (outputs, inputs), and where their gradients go.
struct NetArgs {
  const float* const* weights;
  float* const* grads;   // or null
  const int32_t* sizes;  // (layers + 1,) inputs, then each layer's outputs
  int32_t layers;
};

struct MlpArgs {
  const float* x;    // (N, inputs)
  float* y;          // (N, outputs); its gradient in mlp_backward
  float* grad_x;     // (N, inputs) or null
  float* saved;      // what forward keeps for backward, or null
  i64 points;
  NetArgs net;
};

struct FieldArgs {
  GridArgs grid;                // encoded unused
  const float* ray_features;    // (R, D)
  const int32_t* ray_index;     // (N,)
  float* sigma;                 // (N,)
  float* rgb;                   // (N, 3)
  const float* grad_sigma;      // (N,)
  const float* grad_rgb;        // (N, 3)
  float* saved;                 // what forward keeps for backward, or null
  float* grad_tiles;            // scratch of backward (tiles, levels * features, kTile); null: no gradient of the table
  i64 ray_width;                // D
  NetArgs sigma_net, color_net;
  float density_shift, density_scale;
};

constexpr i64 kTile = 96;        // points that go through the networks together: a multiple of 3 vectors of any width

// Tiles that a thread encodes level by level, so that a level's table stays in its cache: many, but enough to share.
inline i64 chunk_of(i64 tiles) {
#ifdef _OPENMP
  const i64 shares = 4 * i64(omp_get_max_threads());
#else
  const i64 shares = 1;
#endif
  const i64 chunk = ceil_div(tiles, shares);
  return chunk < 1 ? 1 : (chunk > 64 ? 64 : chunk);
}

}  // namespace ha
