// Where rays ask the field, and how what it answers becomes a color.
#include <algorithm>
#include <cmath>
#include <vector>

#include "rays.h"
#include "simd.h"

namespace {

using ha::i64;

// A bijection of 32-bit integers. Source: C. Wellons 2018, "lowbias32".
uint32_t mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

struct Ray {
  float near, far;
};

// std::fmin and std::fmax, which pass over the NaN of a ray that runs within a side of the box, without their calls.
float least(float a, float b) { return a < b || b != b ? a : b; }
float most(float a, float b) { return a > b || b != b ? a : b; }

// The ray's interval inside the box.
Ray cut_to_box(const float* origin, const float* direction, float near, float far, const float* low, const float* high) {
  for (int d = 0; d < 3; ++d) {
    const float a = (low[d] - origin[d]) / direction[d], b = (high[d] - origin[d]) / direction[d];
    near = most(near, least(a, b));
    far = least(far, most(a, b));
  }
  return {near, far};
}

float to_box(float origin, float direction, float distance, float low, float high) {
  const float x = (origin + distance * direction - low) / (high - low);
  return x > 0.f ? std::min(x, 1.f) : 0.f;
}

}  // namespace

namespace ha {

namespace {

// One bit per lane whose cell is occupied.
inline uint32_t occupied_lanes(const uint32_t* words, vi cell) {
#if defined(__AVX2__) && HA_WIDTH == 8
  const __m256i word = _mm256_i32gather_epi32(reinterpret_cast<const int*>(words), (__m256i)(cell >> 5), 4);
  return uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_sllv_epi32(word, (__m256i)(31 - (cell & 31))))));
#elif defined(__AVX512DQ__) && HA_WIDTH == 16
  const __m512i word = _mm512_i32gather_epi32((__m512i)(cell >> 5), words, 4);
  return uint32_t(_mm512_movepi32_mask(_mm512_sllv_epi32(word, (__m512i)(31 - (cell & 31)))));
#else
  uint32_t lanes = 0;
  for (int lane = 0; lane < W; ++lane) lanes |= (words[cell[lane] >> 5] >> (cell[lane] & 31) & 1u) << lane;
  return lanes;
#endif
}

// Appends those of W pieces, from number `first` on, whose middles lie in cells that are not empty, and counts those
// that are only backing.
inline int probe_pieces(const RayArgs& a, const Occupied& occupied, bool unit_box, const float* origin,
                        const float* direction, const Ray& ray, float piece, i64 first, int16_t* pieces, int& backing) {
  vf number;
  for (int lane = 0; lane < W; ++lane) number[lane] = float(lane);
  const vf middle = splat(ray.near) + ((number + float(first)) + 0.5f) * splat(piece);
  vi cell = {};
  for (int d = 0; d < 3; ++d) {
    vf x = splat(origin[d]) + middle * splat(direction[d]);
    if (!unit_box) x = (x - splat(a.low[d])) / splat(a.high[d] - a.low[d]);
    x = vmin(select(x > 0.0f, x, vf{}), splat(1.0f)) * float(a.side);
    const vi at = __builtin_convertvector(x, vi), last = int32_t(a.side - 1) - vi{};
    cell = cell * int32_t(a.side) + ((at < last) ? at : last);
  }
  uint32_t bits = occupied_lanes(occupied.bits, cell);
  const i64 left = a.probes - first;
  if (left < W) bits &= (1u << left) - 1u;
  if (bits && occupied.backing) backing += __builtin_popcount(bits & occupied_lanes(occupied.backing, cell));
  int found = 0;
  for (; bits; bits &= bits - 1) pieces[found++] = int16_t(first + __builtin_ctz(bits));
  return found;
}

// The first piece whose middle may lie in the box of occupied cells, and the one behind the last; a piece more at
// either end, so that rounding cannot leave one out.
void pieces_in_box(const RayArgs& a, const Occupied& occupied, const float* origin, const float* direction,
                   const Ray& ray, float piece, i64& begin, i64& end) {
  Ray inside = ray;
  for (int d = 0; d < 3; ++d) {
    const float cell = (a.high[d] - a.low[d]) / float(a.side);
    const float from = (a.low[d] + float(occupied.first[d]) * cell - origin[d]) / direction[d];
    const float to = (a.low[d] + float(occupied.last[d] + 1) * cell - origin[d]) / direction[d];
    inside.near = most(inside.near, least(from, to));
    inside.far = least(inside.far, most(from, to));
  }
  const float scale = 1.f / piece, all = float(a.probes);
  begin = i64(least(most((inside.near - ray.near) * scale - 1.5f, 0.f), all));
  end = i64(least(most((inside.far - ray.near) * scale + 1.5f, 0.f), all));
}

// The lowest bits of eight bytes side by side: no two of the product's terms fall on one bit.
inline uint32_t lowest_bits(uint64_t bytes) {
  return uint32_t((bytes & 0x0101010101010101ull) * 0x0102040810204080ull >> 56);
}

}  // namespace

void pack(const uint8_t* occupancy, i64 side, uint32_t* packed, i64* box) {
  const i64 cells = side * side * side, words = words_of(side);
  std::vector<uint8_t> rows(side * side, 0), along(side * side, 0);  // what is not empty, over (x, y) and (x, z)
  bool backed = false;
#pragma omp parallel
  {
#pragma omp for schedule(static) reduction(|| : backed)
    for (i64 word = 0; word < words; ++word) {
      uint32_t first = 0, second = 0;
      for (i64 i = 32 * word; i < std::min(32 * word + 32, cells); i += 8) {
        uint64_t bytes = 0;
        std::memcpy(&bytes, occupancy + i, std::min<i64>(8, cells - i));
        if (!bytes) continue;
        first |= lowest_bits(bytes) << (i & 31);
        second |= lowest_bits(bytes >> 1) << (i & 31);
      }
      packed[word] = first;
      packed[words + word] = second;
      backed = backed || second;
    }
#pragma omp for schedule(static)
    for (i64 x = 0; x < side; ++x)
      for (i64 y = 0; y < side; ++y) {
        const uint8_t* row = occupancy + (x * side + y) * side;
        uint8_t any = 0;
        for (i64 z = 0; z < side; ++z) any |= row[z];
        if (!any) continue;
        rows[x * side + y] = 1;
        for (i64 z = 0; z < side; ++z) along[x * side + z] |= row[z];
      }
  }
  i64 *first = box, *last = box + 3;
  std::fill_n(first, 3, 0);
  std::fill_n(last, 3, -1);
  box[6] = backed;
  const auto grow = [first, last](int axis, i64 at) {
    first[axis] = last[axis] < 0 ? at : std::min(first[axis], at);
    last[axis] = std::max(last[axis], at);
  };
  for (i64 x = 0; x < side; ++x)
    for (i64 k = 0; k < side; ++k) {
      if (rows[x * side + k]) grow(0, x), grow(1, k);
      if (along[x * side + k]) grow(2, k);
    }
}

Occupied::Occupied(const RayArgs& a) : first{0, 0, 0}, last{-1, -1, -1} {
  if (!a.occupancy) return;
  i64 made[7];
  const i64 *box = a.box, words = words_of(a.side);
  bits = a.packed;
  if (!bits) {
    own_.resize(2 * words);
    pack(a.occupancy, a.side, own_.data(), made);
    bits = own_.data();
    box = made;
  }
  std::copy_n(box, 3, first);
  std::copy_n(box + 3, 3, last);
  if (box[6]) backing = bits + words;
}

Probed probe_ray(const RayArgs& a, const Occupied& occupied, i64 r, int16_t* pieces) {
  const float *origin = a.origins + 3 * r, *direction = a.directions + 3 * r;
  const Ray ray = cut_to_box(origin, direction, a.near[r], a.far[r], a.low, a.high);
  const float piece = (ray.far - ray.near) / float(a.probes);
  bool unit_box = true;
  for (int d = 0; d < 3; ++d) unit_box &= a.low[d] == 0.f && a.high[d] == 1.f;
  int found = 0, backing = 0;
  if (piece > 0) {
    i64 begin, end;
    if (a.occupancy && occupied.last[0] >= 0) {
      pieces_in_box(a, occupied, origin, direction, ray, piece, begin, end);
      for (i64 k = begin; k < end; k += W)
        found += probe_pieces(a, occupied, unit_box, origin, direction, ray, piece, k, pieces + found, backing);
    }
    if (!a.occupancy)
      for (; found < a.probes; ++found) pieces[found] = int16_t(found);
  }
  const int occupied_pieces = found - backing;
  i64 count = occupied_pieces ? a.samples : 0;
  if (occupied_pieces && a.min_step > 0)
    count = std::min(count, i64(std::ceil(float(occupied_pieces) * piece / float(a.min_step))));
  if (occupied_pieces && backing) count = ceil_div(count * found, occupied_pieces);
  return {ray.near, piece, found, count};
}

}  // namespace ha

// What rays look up in a grid of cells, for as many calls as use it: (2, words) and (7,), see `pack`.
HA_API void ha_pack_cells(const uint8_t* occupancy, i64 side, uint32_t* words, i64* box) {
  ha::pack(occupancy, side, words, box);
}

// First pass: the pieces that are occupied (R, probes), how many (R,), near end and length of a piece (R, 2), and how
// many samples the ray gets (R,).
HA_API void ha_probe_rays(const float* origins, const float* directions, const float* near, const float* far, i64 rays,
                          const float* low, const float* high, const uint8_t* occupancy, i64 side, i64 probes,
                          i64 samples, double min_step, int16_t* pieces, int32_t* filled, float* interval,
                          i64* counts) {
  const ha::RayArgs args = {origins, directions, near, far, low, high, occupancy, rays, side, probes, samples,
                            min_step, nullptr, nullptr};
  const ha::Occupied occupied(args);
#pragma omp parallel for schedule(static, 256)
  for (i64 r = 0; r < rays; ++r) {
    const ha::Probed found = ha::probe_ray(args, occupied, r, pieces + r * probes);
    interval[2 * r] = found.near;
    interval[2 * r + 1] = found.piece;
    filled[r] = found.filled;
    counts[r] = found.count;
  }
}

// Second pass: the samples themselves.
HA_API void ha_place_samples(const float* origins, const float* directions, i64 rays, const float* low,
                             const float* high, i64 probes, i64 samples, const int16_t* pieces, const int32_t* filled,
                             const float* interval, const i64* offsets, i64 seed, i64 step, int jitter,
                             float* positions, float* distances, float* deltas, int32_t* ray_index) {
  const uint32_t key = mix(uint32_t(seed) + 0x9E3779B9u * uint32_t(step));
#pragma omp parallel for schedule(static, 256)
  for (i64 r = 0; r < rays; ++r) {
    const i64 count = offsets[r + 1] - offsets[r];
    const float near = interval[2 * r], piece = interval[2 * r + 1], share = float(filled[r]) / float(count);
    for (i64 k = 0; k < count; ++k) {
      const i64 at = offsets[r] + k;
      const uint32_t random = mix(key ^ mix(uint32_t(r * samples + k + 1)));
      const float along = (float(k) + (jitter ? float(random >> 8) * 0x1p-24f : 0.5f)) * share;
      const i64 which = std::min<i64>(i64(along), filled[r] - 1);
      const float t = near + (float(pieces[r * probes + which]) + (along - float(which))) * piece;
      for (int d = 0; d < 3; ++d)
        positions[3 * at + d] = to_box(origins[3 * r + d], directions[3 * r + d], t, low[d], high[d]);
      distances[at] = t;
      deltas[at] = share * piece;
      ray_index[at] = int32_t(r);
    }
  }
}

// rgb (R, 3), alpha (R,), depth (R,)
HA_API void ha_composite(const float* sigma, const float* rgb, const float* deltas, const float* distances,
                         const i64* offsets, i64 rays, double stop, float* out_rgb, float* out_alpha,
                         float* out_depth) {
#pragma omp parallel for schedule(static, 256)
  for (i64 r = 0; r < rays; ++r) {
    double optical = 0;
    float sum[5] = {};
    for (i64 n = offsets[r]; n < offsets[r + 1]; ++n) {
      const double transmittance = std::exp(-optical);
      if (transmittance < stop) break;
      const double step = double(sigma[n] * deltas[n]);
      const float weight = float(transmittance * -std::expm1(-step));
      for (int c = 0; c < 3; ++c) sum[c] += weight * rgb[3 * n + c];
      sum[3] += weight;
      sum[4] += weight * distances[n];
      optical += step;
    }
    for (int c = 0; c < 3; ++c) out_rgb[3 * r + c] = sum[c];
    out_alpha[r] = sum[3];
    out_depth[r] = sum[4];
  }
}

// With w_i = T_i (1 - exp(-s_i)), dL/ds_i = g_i T_{i+1} - sum_{j>i} g_j w_j, where g_i is the gradient of w_i.
HA_API void ha_composite_backward(const float* sigma, const float* rgb, const float* deltas, const float* distances,
                                  const i64* offsets, i64 rays, double stop, const float* grad_rgb,
                                  const float* grad_alpha, const float* grad_depth, float* grad_sigma,
                                  float* grad_color) {
#pragma omp parallel
  {
    std::vector<double> before;
#pragma omp for schedule(static, 256)
    for (i64 r = 0; r < rays; ++r) {
      const i64 start = offsets[r], count = offsets[r + 1] - start;
      before.resize(count + 1);
      double optical = 0;
      i64 seen = 0;
      before[0] = 1;
      while (seen < count && before[seen] >= stop) {
        optical += double(sigma[start + seen] * deltas[start + seen]);
        before[++seen] = std::exp(-optical);
      }
      const float* g = grad_rgb + 3 * r;
      double behind = 0;
      for (i64 k = count - 1; k >= 0; --k) {
        const i64 n = start + k;
        float* color = grad_color + 3 * n;
        if (k >= seen) {
          color[0] = color[1] = color[2] = grad_sigma[n] = 0;
          continue;
        }
        const double weight = before[k] * -std::expm1(-double(sigma[n] * deltas[n]));
        double grad = double(grad_alpha[r]) + double(grad_depth[r]) * distances[n];
        for (int c = 0; c < 3; ++c) {
          grad += double(g[c]) * rgb[3 * n + c];
          color[c] = float(g[c] * weight);
        }
        grad_sigma[n] = float((grad * before[k + 1] - behind) * deltas[n]);
        behind += grad * weight;
      }
    }
  }
}
