// hash_encode: forward and backward.
#include <algorithm>
#include <memory>

#include "grid.h"
#include "positions.h"
#include "tile_rows.h"

namespace ha {

HA_API void ha_grid_forward(const GridArgs* args) {
  const GridArgs& grid = *args;
  const std::vector<Tile> tiles = cut_tiles(grid.frame_offsets, grid.frames);
  const i64 count = i64(tiles.size()), rows = grid.levels * grid.features;
  const i64 size = grid.offsets[grid.levels] * grid.features, chunk_size = chunk_of(count);
#pragma omp parallel
  {
    std::vector<float> soa(chunk_size * 3 * kTile), encoded(chunk_size * rows * kTile);
#pragma omp for schedule(dynamic, 1)
    for (i64 chunk = 0; chunk < ceil_div(count, chunk_size); ++chunk) {
      const i64 first = chunk * chunk_size, last = std::min(count, first + chunk_size);
      for (i64 t = first; t < last; ++t) load_points(grid.x, tiles[t], &soa[(t - first) * 3 * kTile]);
      with_features(grid.features, [&](auto f) {
        for (int level = 0; level < grid.levels; ++level)
          for (i64 t = first; t < last; ++t)
            encode_level<decltype(f)::value>(grid, grid.table + tiles[t].frame * size, level,
                                             &soa[(t - first) * 3 * kTile], &encoded[(t - first) * rows * kTile]);
      });
      for (i64 t = first; t < last; ++t) {
        const float* from = &encoded[(t - first) * rows * kTile];
        float* to = grid.encoded + tiles[t].start * rows;
        if (tiles[t].count == kTile)
          transpose(from, rows, to, rows);
        else
          for (i64 n = 0; n < tiles[t].count; ++n)
            for (i64 r = 0; r < rows; ++r) to[n * rows + r] = from[r * kTile + n];
      }
    }
  }
}

HA_API void ha_grid_backward(const GridArgs* args) {
  const GridArgs& grid = *args;
  const std::vector<Tile> tiles = cut_tiles(grid.frame_offsets, grid.frames);
  const i64 count = i64(tiles.size()), rows = grid.levels * grid.features;
  const i64 size = grid.offsets[grid.levels] * grid.features;
  const std::unique_ptr<float[]> grads(new float[count * rows * kTile]);  // a vector would first be filled with 0
#pragma omp parallel for schedule(static)
  for (i64 t = 0; t < count; ++t) {
    float* rows_of = &grads[t * rows * kTile];
    if (tiles[t].count < kTile) std::fill_n(rows_of, rows * kTile, 0.f);
    for (i64 n = 0; n < tiles[t].count; ++n)
      for (i64 r = 0; r < rows; ++r) rows_of[r * kTile + n] = grid.encoded[(tiles[t].start + n) * rows + r];
    if (!grid.grad_x) continue;
    alignas(64) float soa[3 * kTile];
    load_points(grid.x, tiles[t], soa);
    with_features(grid.features, [&](auto f) {
      position_gradient<decltype(f)::value>(grid, grid.table + tiles[t].frame * size, tiles[t], soa, rows_of);
    });
  }
  if (grid.grad_table) scatter(grid, tiles, grads.get());
}

}  // namespace ha
