// Looking points up in a hash grid, and scattering gradients into it. A tile is kTile points, feature after feature.
#pragma once

#include <type_traits>
#include <vector>

#include "simd.h"

namespace ha {

// Points of one frame that travel together.
struct Tile {
  i64 frame, start, count;
};

inline std::vector<Tile> cut_tiles(const i64* offsets, i64 frames) {
  std::vector<Tile> tiles;
  for (i64 b = 0; b < frames; ++b)
    for (i64 s = offsets[b]; s < offsets[b + 1]; s += kTile)
      tiles.push_back({b, s, offsets[b + 1] - s < kTile ? offsets[b + 1] - s : kTile});
  return tiles;
}

// Coordinates of a tile's points, clamped to the box, axis after axis; the tile's rest lies at 0.
inline void load_points(const float* x, const Tile& tile, float* soa) {
  for (i64 n = 0; n < kTile; ++n)
    for (int d = 0; d < 3; ++d) {
      const float value = n < tile.count ? x[3 * (tile.start + n) + d] : 0.f;
      soa[d * kTile + n] = value > 0.f ? (value < 1.f ? value : 1.f) : 0.f;
    }
}

struct Corners {
  vi index[8];
  vf weight[8];
  vf fraction[3];
};

// The 8 entries around each of W points and their weights; bit d of a corner's number steps along axis d.
inline void find_corners(const GridArgs& grid, int level, const float* soa, i64 n, Corners& c) {
  const float scale = grid.scales[level];
  const int32_t nodes = grid.nodes[level];
  vi cell[3];
  for (int d = 0; d < 3; ++d) {
    const vf position = loadf(soa + d * kTile + n) * scale + 0.5f;
    cell[d] = __builtin_convertvector(position, vi);
    c.fraction[d] = position - __builtin_convertvector(cell[d], vf);
  }
  const i64 entries = grid.offsets[level + 1] - grid.offsets[level];
  if (i64(nodes) * nodes * nodes == entries) {
    const vi base = cell[0] + cell[1] * nodes + cell[2] * (nodes * nodes);
    for (int k = 0; k < 8; ++k) c.index[k] = base + ((k & 1) + (k >> 1 & 1) * nodes + (k >> 2) * nodes * nodes);
  } else {
    const vu x0 = (vu)cell[0], y0 = (vu)cell[1] * 2654435761u, z0 = (vu)cell[2] * 805459861u;
    const vu axis[3][2] = {{x0, x0 + 1u}, {y0, y0 + 2654435761u}, {z0, z0 + 805459861u}};
    const uint32_t mask = (1u << grid.log2_table) - 1u;
    for (int k = 0; k < 8; ++k)
      c.index[k] = (vi)((axis[0][k & 1] ^ axis[1][k >> 1 & 1] ^ axis[2][k >> 2]) & mask);
  }
  const vf* f = c.fraction;
  const vf x[2] = {1.0f - f[0], f[0]}, y[2] = {1.0f - f[1], f[1]}, z[2] = {1.0f - f[2], f[2]};
  for (int k = 0; k < 8; ++k) c.weight[k] = x[k & 1] * y[k >> 1 & 1] * z[k >> 2];
}

// Sums of W points' weighted entries, F features each, into rows of a tile.
template <int F>
inline void gather(const float* table, const Corners& c, float* out) {
  alignas(64) int32_t index[8][W];
  alignas(64) float weight[8][W];
  for (int k = 0; k < 8; ++k) {
    store(index[k], c.index[k]);
    store(weight[k], c.weight[k]);
  }
  for (int lane = 0; lane < W; ++lane) {
    float sum[F] = {};
    for (int k = 0; k < 8; ++k) {
      const float* entry = table + i64(index[k][lane]) * F;
      for (int f = 0; f < F; ++f) sum[f] += weight[k][lane] * entry[f];
    }
    for (int f = 0; f < F; ++f) out[f * kTile + lane] = sum[f];
  }
}

// Two features are one 64-bit load; the pairs are taken apart once, after summing.
#if HA_WIDTH == 8
template <>
inline void gather<2>(const float* table, const Corners& c, float* out) {
  const auto pair = [table](int32_t i, int32_t j) {  // faster than the gather instruction, which is many small ones
    const __m128 low = _mm_loadl_pi(_mm_undefined_ps(), reinterpret_cast<const __m64*>(table + 2 * i64(i)));
    return _mm_loadh_pi(low, reinterpret_cast<const __m64*>(table + 2 * i64(j)));
  };
  __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
  alignas(32) int32_t index[8][W];
  for (int k = 0; k < 8; ++k) store(index[k], c.index[k]);
  for (int k = 0; k < 8; ++k) {
    const int32_t* i = index[k];
    const __m256 weight = (__m256)c.weight[k];
    const __m256 a = _mm256_set_m128(pair(i[4], i[5]), pair(i[0], i[1]));
    const __m256 b = _mm256_set_m128(pair(i[6], i[7]), pair(i[2], i[3]));
    low = _mm256_fmadd_ps(a, _mm256_unpacklo_ps(weight, weight), low);
    high = _mm256_fmadd_ps(b, _mm256_unpackhi_ps(weight, weight), high);
  }
  store(out, _mm256_shuffle_ps(low, high, 0x88));
  store(out + kTile, _mm256_shuffle_ps(low, high, 0xDD));
}
#elif HA_WIDTH == 16
template <>
inline void gather<2>(const float* table, const Corners& c, float* out) {
  __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
  const __m512i order = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  for (int k = 0; k < 8; ++k) {
    const __m512i index = _mm512_permutexvar_epi32(order, (__m512i)c.index[k]);
    const __m512 weight = (__m512)c.weight[k];
    const __m512d a = _mm512_i32gather_pd(_mm512_castsi512_si256(index), table, 8);
    const __m512d b = _mm512_i32gather_pd(_mm512_extracti64x4_epi64(index, 1), table, 8);
    low = _mm512_fmadd_ps(_mm512_castpd_ps(a), _mm512_unpacklo_ps(weight, weight), low);
    high = _mm512_fmadd_ps(_mm512_castpd_ps(b), _mm512_unpackhi_ps(weight, weight), high);
  }
  store(out, _mm512_shuffle_ps(low, high, 0x88));
  store(out + kTile, _mm512_shuffle_ps(low, high, 0xDD));
}
#endif

// One level of one tile: rows level * F to level * F + F - 1 of out.
template <int F>
inline void encode_level(const GridArgs& grid, const float* table, int level, const float* soa, float* out) {
  const float* entries = table + grid.offsets[level] * F;
  for (i64 n = 0; n < kTile; n += W) {
    Corners c;
    find_corners(grid, level, soa, n, c);
    gather<F>(entries, c, out + level * F * kTile + n);
  }
}

// Adds W points' weighted gradients to their entries, point after point; g holds a vector of points per feature.
template <int F>
inline void add_entries(float* table, const Corners& c, const vf* g) {
  alignas(64) int32_t index[8][W];
  alignas(64) float weight[8][W], grad[F][W];
  for (int k = 0; k < 8; ++k) {
    store(index[k], c.index[k]);
    store(weight[k], c.weight[k]);
  }
  for (int f = 0; f < F; ++f) store(grad[f], g[f]);
  for (int lane = 0; lane < W; ++lane)
    for (int k = 0; k < 8; ++k) {
      float* entry = table + i64(index[k][lane]) * F;
      for (int f = 0; f < F; ++f) entry[f] += weight[k][lane] * grad[f][lane];
    }
}

#ifdef __AVX2__
// Both features of an entry are changed by one 64-bit load, addition and store.
template <>
inline void add_entries<2>(float* table, const Corners& c, const vf* g) {
  alignas(64) int32_t index[8][W];
  alignas(64) float pairs[8][2 * W];
  for (int k = 0; k < 8; ++k) {
    store(index[k], c.index[k]);
    const vf a = c.weight[k] * g[0], b = c.weight[k] * g[1];
#if HA_WIDTH == 8
    store(pairs[k], (vf)_mm256_unpacklo_ps((__m256)a, (__m256)b));
    store(pairs[k] + W, (vf)_mm256_unpackhi_ps((__m256)a, (__m256)b));
#else
    store(pairs[k], (vf)_mm512_unpacklo_ps((__m512)a, (__m512)b));
    store(pairs[k] + W, (vf)_mm512_unpackhi_ps((__m512)a, (__m512)b));
#endif
  }
  for (int lane = 0; lane < W; ++lane) {
    const int slot = (lane & 2 ? W : 0) + (lane >> 2) * 4 + (lane & 1) * 2;  // unpacking works on four at a time
    for (int k = 0; k < 8; ++k) {
      __m64* entry = reinterpret_cast<__m64*>(table + 2 * i64(index[k][lane]));
      const __m128 zero = _mm_setzero_ps();
      const __m128 sum = _mm_add_ps(_mm_loadl_pi(zero, entry),
                                    _mm_loadl_pi(zero, reinterpret_cast<const __m64*>(pairs[k] + slot)));
      _mm_storel_pi(entry, sum);
    }
  }
}
#endif

// Adds one level's gradient of one tile into a table's gradient; points past the tile's count have gradient 0.
template <int F>
inline void scatter_level(const GridArgs& grid, float* table, int level, const float* soa, const float* grad,
                          i64 count) {
  float* entries = table + grid.offsets[level] * F;
  const float* rows = grad + level * F * kTile;
  for (i64 n = 0; n < count; n += W) {
    vf g[F];
    vi any = {};
    for (int f = 0; f < F; ++f) {
      g[f] = loadf(rows + f * kTile + n);
      any |= g[f] != 0.0f;
    }
    bool seen = false;
    for (int lane = 0; lane < W; ++lane) seen |= any[lane] != 0;
    if (!seen) continue;  // behind what is opaque nothing has a gradient
    Corners c;
    find_corners(grid, level, soa, n, c);
    add_entries<F>(entries, c, g);
  }
}

// Calls body.template operator()<F>() for the grid's number of features.
template <class Body>
inline void with_features(int features, Body body) {
  switch (features) {
    case 1: return body(std::integral_constant<int, 1>());
    case 2: return body(std::integral_constant<int, 2>());
    case 4: return body(std::integral_constant<int, 4>());
    case 8: return body(std::integral_constant<int, 8>());
  }
}

// The gradient of tables, from gradients of tiles: one thread per level, so that sums have one order.
inline void scatter(const GridArgs& grid, const std::vector<Tile>& tiles, const float* grad_tiles) {
  const int rows = grid.levels * grid.features;
  const i64 size = grid.offsets[grid.levels] * grid.features;
  std::vector<i64> first(grid.frames + 1, i64(tiles.size()));
  for (i64 t = i64(tiles.size()) - 1; t >= 0; --t) first[tiles[t].frame] = t;
  for (i64 b = grid.frames - 1; b >= 0; --b)
    if (first[b] > first[b + 1]) first[b] = first[b + 1];
#pragma omp parallel for schedule(dynamic, 1)
  for (i64 job = 0; job < grid.frames * grid.levels; ++job) {
    const i64 b = job / grid.levels;
    const int level = grid.levels - 1 - int(job % grid.levels);  // the fine ones first: they take longest
    float* table = grid.grad_table + b * size;
    std::memset(table + grid.offsets[level] * grid.features, 0,
                (grid.offsets[level + 1] - grid.offsets[level]) * grid.features * sizeof(float));
    alignas(64) float soa[3 * kTile];
    with_features(grid.features, [&](auto f) {
      for (i64 t = first[b]; t < i64(tiles.size()) && tiles[t].frame == b; ++t) {
        load_points(grid.x, tiles[t], soa);
        scatter_level<decltype(f)::value>(grid, table, level, soa, grad_tiles + t * rows * kTile, tiles[t].count);
      }
    });
  }
}

}  // namespace ha
