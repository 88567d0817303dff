// A shape posed for one frame: what coefficients add, joints, the camera. Vertices go in blocks, each with a list of the
// bases and of the joints that move any of it.
#include <cmath>

#include "common.h"

namespace {

using ha::i64;
constexpr int kLanes = 16;  // vertices of a block

struct PoseArgs {
  const float *rest, *moves, *turn_weights;                                    // (blocks or entries, 3 or 1, kLanes)
  const int32_t *move_starts, *move_index, *turn_starts, *turn_index;          // of blocks, and of entries
  const float *coefficients, *turns, *pivots, *view, *projection, *offset;     // offset (V, 3) or null
  float *points, *pixels;                                                      // (V, 3)
  i64 vertex_count, blocks;
};

void pose_block(const PoseArgs& args, i64 block) {
  float p[3][kLanes];
  std::memcpy(p, args.rest + block * 3 * kLanes, sizeof p);
  const i64 first = block * kLanes, count = args.vertex_count - first < kLanes ? args.vertex_count - first : kLanes;
  if (args.offset)
    for (i64 n = 0; n < count; ++n)
      for (int d = 0; d < 3; ++d) p[d][n] += args.offset[3 * (first + n) + d];
  for (i64 entry = args.move_starts[block]; entry < args.move_starts[block + 1]; ++entry) {
    const float coefficient = args.coefficients[args.move_index[entry]];
    if (coefficient == 0) continue;
    const float* move = args.moves + entry * 3 * kLanes;
    for (int d = 0; d < 3; ++d)
      for (int n = 0; n < kLanes; ++n) p[d][n] += coefficient * move[d * kLanes + n];
  }
  for (i64 entry = args.turn_starts[block]; entry < args.turn_starts[block + 1]; ++entry) {
    const float *turn = args.turns + 9 * args.turn_index[entry], *pivot = args.pivots + 3 * args.turn_index[entry];
    const float* weight = args.turn_weights + entry * kLanes;
    for (int n = 0; n < kLanes; ++n) {
      const float x = p[0][n] - pivot[0], y = p[1][n] - pivot[1], z = p[2][n] - pivot[2];
      p[0][n] += weight[n] * (turn[0] * x + turn[1] * y + turn[2] * z - x);
      p[1][n] += weight[n] * (turn[3] * x + turn[4] * y + turn[5] * z - y);
      p[2][n] += weight[n] * (turn[6] * x + turn[7] * y + turn[8] * z - z);
    }
  }
  float local[3][kLanes], pixel[2][kLanes];
  const float *view = args.view, *k = args.projection;
  for (int n = 0; n < kLanes; ++n) {
    for (int d = 0; d < 3; ++d)
      local[d][n] = view[4 * d] * p[0][n] + view[4 * d + 1] * p[1][n] + view[4 * d + 2] * p[2][n] + view[4 * d + 3];
    // Behind the camera depth is kept: the rasterizer cuts faces there itself.
    const float depth = std::fabs(local[2][n]) < 1e-6f ? 1e-6f : local[2][n];
    for (int d = 0; d < 2; ++d)
      pixel[d][n] = (k[3 * d] * local[0][n] + k[3 * d + 1] * local[1][n] + k[3 * d + 2] * local[2][n]) / depth;
  }
  for (i64 n = 0; n < count; ++n) {
    for (int d = 0; d < 3; ++d) args.points[3 * (first + n) + d] = local[d][n];
    args.pixels[3 * (first + n)] = pixel[0][n];
    args.pixels[3 * (first + n) + 1] = pixel[1][n];
    args.pixels[3 * (first + n) + 2] = local[2][n];
  }
}

}  // namespace

// What the arguments are: ops/native/posing.py.
HA_API void ha_pose(const PoseArgs* args) {
#pragma omp parallel for schedule(static)
  for (i64 block = 0; block < args->blocks; ++block) pose_block(*args, block);
}
