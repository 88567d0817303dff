// Which pieces of a ray are occupied: shared by sampling and rendering, so that both place their samples alike.
#pragma once

#include <vector>

#include "common.h"

namespace ha {

// R rays (origins and directions (R, 3), near and far (R,)), the box that they are cut to, and its occupied cells.
struct RayArgs {
  const float *origins, *directions, *near, *far;
  const float *low, *high;   // (3,)
  const uint8_t* occupancy;  // (side, side, side): lowest bit: not empty, next: only backing; or null: all is occupied
  i64 rays, side, probes, samples;
  double min_step;
  const uint32_t* packed;    // what `pack` made of the occupancy, or null
  const i64* box;            // likewise
};

// The cells that are not empty, a bit each so that they stay in the cache, those of them that are only backing, and the
// box that holds them: first and last cell along each axis.
struct Occupied {
  const uint32_t *bits = nullptr, *backing = nullptr;  // backing: null where no cell is
  i64 first[3], last[3];

  explicit Occupied(const RayArgs& args);

 private:
  std::vector<uint32_t> own_;  // where the caller has none that are packed
};

// Words that one bit a cell takes.
inline i64 words_of(i64 side) { return ceil_div(side * side * side, 32); }

// What `Occupied` reads: words of bits and as many of backing (2 * words_of), and first cells, last cells and whether any
// is backing (7).
void pack(const uint8_t* occupancy, i64 side, uint32_t* words, i64* box);

// What probing a ray finds: `filled` of its pieces are not empty, and `count` samples are to be spread over them, as
// densely as its occupied pieces by themselves ask for.
struct Probed {
  float near, piece;
  int32_t filled;
  i64 count;
};

// The numbers of a ray's occupied pieces go to the front of `pieces`, which has room for all of them.
Probed probe_ray(const RayArgs& args, const Occupied& occupied, i64 ray, int16_t* pieces);

}  // namespace ha
