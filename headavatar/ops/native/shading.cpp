// Sums of maps, vectorized; apart from the geometry, whose products must not be contracted.
#include "shading.h"

#include <cmath>

namespace ha {

namespace {

// Eight maps at a time on any processor: more would fill a texel up with maps that are not there.
constexpr int kLanes = 8;
constexpr int kChannels = 4;  // RGB and opacity
constexpr i64 kAhead = 8;     // pixels by which memory is asked before it is read
typedef float vf __attribute__((vector_size(kLanes * 4)));
typedef int16_t vs __attribute__((vector_size(kLanes * 2)));
typedef float vc __attribute__((vector_size(16)));

template <class V, class T>
inline V load(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Bilinear weights of the four texels of a spot, and of a map (side, side, stride) where they begin.
struct Corners {
  float weights[4];
  i64 places[4];

  Corners(const Spots& spots, i64 n, i64 side, i64 stride) {
    const float fx = spots.fx[n], fy = spots.fy[n], left = 1 - fx, above = 1 - fy;
    weights[0] = left * above, weights[1] = fx * above, weights[2] = left * fy, weights[3] = fx * fy;
    const i64 more = side > 1 ? stride : 0;  // the next texel, on a map of one the same
    places[0] = (spots.row[n] * side + spots.column[n]) * stride, places[1] = places[0] + more;
    places[2] = places[0] + more * side, places[3] = places[2] + more;
  }

  vc read(const float* map) const {
    return (load<vc>(map + places[0]) * weights[0] + load<vc>(map + places[1]) * weights[1]) +
           (load<vc>(map + places[2]) * weights[2] + load<vc>(map + places[3]) * weights[3]);
  }
};

// What the blended coarse maps are at a spot of the fine one.
template <bool kWhole>
inline vc read_coarse(const BakedArgs& args, const Refined& refined, const float* blended, const Spots& spots, i64 n) {
  const float *column = refined.weights.data() + 8 * spots.column[n], *row = refined.weights.data() + 8 * spots.row[n];
  const vc across = load<vc>(column) * (1 - spots.fx[n]) + load<vc>(column + 4) * spots.fx[n];
  const vc down = load<vc>(row) * (1 - spots.fy[n]) + load<vc>(row + 4) * spots.fy[n];
  const i64 taps = kWhole ? kTaps : refined.taps, step = args.coarse_side * kChannels;
  const float* texel = blended + refined.first[spots.row[n]] * step + refined.first[spots.column[n]] * kChannels;
  vc total = vc{};
  for (i64 j = 0; j < taps; ++j, texel += step) {
    vc inner = vc{};
    for (i64 i = 0; i < taps; ++i) inner += load<vc>(texel + i * kChannels) * across[i];
    total += inner * down[j];
  }
  return total;
}

// Of what a face's corners have, (V, 4), what a pixel has.
inline vc mix(const BakedArgs& args, const SeenRow& row, i64 x, const float* values) {
  const int32_t* face = args.faces + 3 * i64(row.image[x]);
  return load<vc>(values + 4 * i64(face[0])) * row.first[x] + load<vc>(values + 4 * i64(face[1])) * row.second[x] +
         load<vc>(values + 4 * i64(face[2])) * row.third[x];
}

// What the light adds to a pixel with a normal of any length.
inline vc read_light(const BakedArgs& args, const Spots& spots, i64 n, vc normal) {
  const vc squared = normal * normal;
  const float per = 1 / std::max(std::sqrt((squared[0] + squared[1]) + squared[2]), 1e-20f);
  const Corners at(spots, n, args.light_side, kChannels * args.lights);
  vc total = vc{};
  for (i64 r = 0; r < args.lights; ++r) {
    const float* axis = args.axes + 3 * r;
    total += at.read(args.light + kChannels * r) * (normal[0] * axis[0] + normal[1] * axis[1] + normal[2] * axis[2]);
  }
  return total * per;
}

template <bool kWhole>
void shade(const BakedArgs& args, const Refined& refined, const float* blended, const SeenRow& row) {
  Spots spots, lit;
  for (i64 x = 0; x < args.width; ++x) {
    const i64 n = x % kRun;
    if (n == 0) {
      const i64 count = std::min(kRun, args.width - x);
      spots.find(row.u + x, row.v + x, count, args.side);
      if (args.lights) lit.find(row.u + x, row.v + x, count, args.light_side);
    }
    if (const i64 soon = n + kAhead; soon < kRun && x + kAhead < args.width && row.image[x + kAhead] >= 0) {
      const float* base = args.base + (spots.row[soon] * args.side + spots.column[soon]) * kChannels;
      __builtin_prefetch(base);
      __builtin_prefetch(base + args.side * kChannels);
      __builtin_prefetch(args.faces + 3 * i64(row.image[x + kAhead]));
    }
    float* rgb = row.rgb + 3 * x;
    if (row.image[x] < 0) {
      std::copy(args.background, args.background + 3, rgb);
      row.alpha[x] = 0;
      continue;
    }
    vc color = Corners(spots, n, args.side, kChannels).read(args.base) +
               read_coarse<kWhole>(args, refined, blended, spots, n);
    const vc normal = row.normals ? mix(args, row, x, row.normals) : vc{};
    if (args.lights) color += read_light(args, lit, n, normal);
    const float opacity = std::min(std::max(0.f, color[3]), 1.f);
    for (int c = 0; c < 3; ++c) rgb[c] = color[c] * opacity + args.background[c] * (1 - opacity);
    row.alpha[x] = opacity;
    if (!(normal[3] > 0)) continue;
    const vc over = mix(args, row, x, args.cover);
    for (int c = 0; c < 3; ++c) rgb[c] += normal[3] * (over[c] - rgb[c]);
    row.alpha[x] += normal[3] * (1 - opacity);
  }
}

}  // namespace

void Spots::find(const float* u, const float* v, i64 count, i64 side) {
  const float scale = float(side), most = float(side - 1);
  const int32_t last = int32_t(std::max<i64>(side - 2, 0));
#pragma omp simd
  for (i64 n = 0; n < count; ++n) {
    // What is not a number goes to 0.
    float px = u[n] * scale - 0.5f, py = (1.f - v[n]) * scale - 0.5f;
    px = px > 0 ? px : 0, py = py > 0 ? py : 0;
    px = px < most ? px : most, py = py < most ? py : most;
    const int32_t x = int32_t(px), y = int32_t(py);
    column[n] = x < last ? x : last, row[n] = y < last ? y : last;
    fx[n] = px - float(column[n]), fy[n] = py - float(row[n]);
  }
}

Refined::Refined(i64 side, i64 coarse) : first(side), weights(8 * side), taps(std::min(kTaps, coarse)) {
  const float scale = float(coarse) / float(side);
  const auto place = [&](i64 n) { return std::max(0.f, (float(n) + 0.5f) * scale - 0.5f); };
  const auto add = [&](float* some, i64 n, i64 from) {
    const i64 texel = std::min(i64(place(n)), coarse - 1);
    const float share = place(n) - float(texel);
    some[texel - from] += 1 - share;
    some[std::min(texel + 1, coarse - 1) - from] += share;
  };
  for (i64 n = 0; n < side; ++n) {
    first[n] = int32_t(std::min(i64(place(n)), coarse - taps));
    add(weights.data() + 8 * n, n, first[n]);
    add(weights.data() + 8 * n + 4, std::min(n + 1, side - 1), first[n]);
  }
}

void blend_texel(const BakedArgs& args, const int16_t* texel, float* blended) {
  vc sums[kChannels];
  for (vc& half : sums) {
    vf total = vf{};
    for (i64 k = 0; k < args.maps; k += kLanes)
      total += load<vf>(args.factors + k) * __builtin_convertvector(load<vs>(texel + k), vf);
    half = __builtin_shufflevector(total, total, 0, 1, 2, 3) + __builtin_shufflevector(total, total, 4, 5, 6, 7);
    texel += args.maps;
  }
  for (int c = 0; c < kChannels; ++c) blended[c] = (sums[c][0] + sums[c][1]) + (sums[c][2] + sums[c][3]);
}

void shade_row(const BakedArgs& args, const Refined& refined, const float* blended, const SeenRow& row) {
  if (refined.taps == kTaps) shade<true>(args, refined, blended, row);
  else shade<false>(args, refined, blended, row);
}

}  // namespace ha
