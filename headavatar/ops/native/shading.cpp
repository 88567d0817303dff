// Sums of maps, vectorized; apart from the geometry, whose products must not be contracted.
#include "shading.h"

#include <cmath>

namespace ha {

namespace {

// Eight maps at a time on any processor: more would fill a texel up with maps that are not there.
constexpr int kLanes = 8;
constexpr int kChannels = 4;  // RGB and opacity
typedef float vf __attribute__((vector_size(kLanes * 4)));
typedef int16_t vs __attribute__((vector_size(kLanes * 2)));
typedef float vc __attribute__((vector_size(16)));

template <class V, class T>
inline V load(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline float sum(vf v) { return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7])); }

// Bilinear, of a map (side, side, stride).
inline vc read(const Spot& spot, const float* map, i64 side, i64 stride) {
  const float* t = map + (spot.row * side + spot.column) * stride;
  const float* below = t + spot.down * side * stride;
  const vc upper = load<vc>(t) * (1 - spot.fx) + load<vc>(t + spot.across * stride) * spot.fx;
  const vc lower = load<vc>(below) * (1 - spot.fx) + load<vc>(below + spot.across * stride) * spot.fx;
  return upper * (1 - spot.fy) + lower * spot.fy;
}

}  // namespace

Refined::Refined(i64 side, i64 coarse) : first(side), own(4 * side), next(4 * side), taps(std::min(kTaps, coarse)) {
  const float scale = float(coarse) / float(side);
  const auto place = [&](i64 n) { return std::max(0.f, (float(n) + 0.5f) * scale - 0.5f); };
  const auto add = [&](float* weights, i64 n, i64 from) {
    const i64 texel = std::min(i64(place(n)), coarse - 1);
    const float share = place(n) - float(texel);
    weights[texel - from] += 1 - share;
    weights[std::min(texel + 1, coarse - 1) - from] += share;
  };
  for (i64 n = 0; n < side; ++n) {
    first[n] = int32_t(std::min(i64(place(n)), coarse - taps));
    add(own.data() + 4 * n, n, first[n]);
    add(next.data() + 4 * n, std::min(n + 1, side - 1), first[n]);
  }
}

void blend_texel(const BakedArgs& args, const int16_t* texel, float* blended) {
  for (int c = 0; c < kChannels; ++c, texel += args.maps) {
    vf total = vf{};
    for (i64 k = 0; k < args.maps; k += kLanes)
      total += load<vf>(args.factors + k) * __builtin_convertvector(load<vs>(texel + k), vf);
    blended[c] = sum(total);
  }
}

void shade(const BakedArgs& args, const Refined& refined, const float* blended, float u, float v, const float* normal,
           float* rgb, float* alpha) {
  const Spot spot(u, v, args.side);
  vc color = read(spot, args.base, args.side, kChannels);
  const vc across = load<vc>(refined.own.data() + 4 * spot.column) * (1 - spot.fx) +
                    load<vc>(refined.next.data() + 4 * spot.column) * spot.fx;
  const vc down = load<vc>(refined.own.data() + 4 * spot.row) * (1 - spot.fy) +
                  load<vc>(refined.next.data() + 4 * spot.row) * spot.fy;
  const float* row = blended + (refined.first[spot.row] * args.coarse_side + refined.first[spot.column]) * kChannels;
  for (i64 j = 0; j < refined.taps; ++j, row += args.coarse_side * kChannels) {
    vc inner = vc{};
    for (i64 i = 0; i < refined.taps; ++i) inner += load<vc>(row + i * kChannels) * across[i];
    color += inner * down[j];
  }
  if (normal) {
    const float squared = normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2];
    const float length = std::max(std::sqrt(squared), 1e-20f);
    const Spot lit(u, v, args.light_side);
    for (i64 r = 0; r < args.lights; ++r) {
      const float* axis = args.axes + 3 * r;
      const float along = (normal[0] * axis[0] + normal[1] * axis[1] + normal[2] * axis[2]) / length;
      color += read(lit, args.light + kChannels * r, args.light_side, kChannels * args.lights) * along;
    }
  }
  const float opacity = std::min(std::max(0.f, color[3]), 1.f);
  for (int c = 0; c < 3; ++c) rgb[c] = color[c] * opacity + args.background[c] * (1 - opacity);
  *alpha = opacity;
}

}  // namespace ha
