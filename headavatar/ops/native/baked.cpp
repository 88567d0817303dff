// The baked shader: many maps read at once, summed with a frame's weights and a normal's.
#include <algorithm>
#include <cmath>
#include <vector>

#include "common.h"

namespace {

using ha::i64;
// Eight maps at a time on any processor: more would fill a texel up with maps that are not there.
constexpr int kLanes = 8;
typedef float vf __attribute__((vector_size(kLanes * 4)));
typedef int16_t vs __attribute__((vector_size(kLanes * 2)));
typedef float vc __attribute__((vector_size(16)));
constexpr int kMost = 512;    // maps
constexpr int kChannels = 4;  // RGB and opacity

template <class V, class T>
inline V load(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline float sum(vf v) { return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7])); }

// Four texels of a square map around a place, and their shares.
struct Spot {
  i64 at, right, down;
  float fx, fy;

  Spot(float u, float v, i64 side) {
    // The order of the arguments sends what is not a number to 0.
    const float px = std::min(std::max(0.f, u * float(side) - 0.5f), float(side - 1));
    const float py = std::min(std::max(0.f, (1.f - v) * float(side) - 0.5f), float(side - 1));
    const i64 last = std::max<i64>(side - 2, 0), column = std::min(i64(px), last), row = std::min(i64(py), last);
    fx = px - float(column);
    fy = py - float(row);
    at = row * side + column;
    right = side > 1 ? 1 : 0;
    down = side > 1 ? side : 0;
  }

  vc read(const float* map, i64 stride) const {
    const float* t = map + at * stride;
    const vc upper = load<vc>(t) * (1 - fx) + load<vc>(t + right * stride) * fx;
    const vc lower = load<vc>(t + down * stride) * (1 - fx) + load<vc>(t + (down + right) * stride) * fx;
    return upper * (1 - fy) + lower * fy;
  }
};

}  // namespace

// points (V, 3), faces (F, 3), starts (V + 1,), around (3 F,) -> unit normals (V, 3), weighed by area.
// face_normals (F, 3) is scratch.
HA_API void ha_vertex_normals(const float* points, const int32_t* faces, const int32_t* starts, const int32_t* around,
                              i64 vertex_count, i64 face_count, float* face_normals, float* normals) {
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (i64 f = 0; f < face_count; ++f) {
      const float *a = points + 3 * i64(faces[3 * f]), *b = points + 3 * i64(faces[3 * f + 1]);
      const float* c = points + 3 * i64(faces[3 * f + 2]);
      const float u[3] = {b[0] - a[0], b[1] - a[1], b[2] - a[2]}, v[3] = {c[0] - a[0], c[1] - a[1], c[2] - a[2]};
      face_normals[3 * f] = u[1] * v[2] - u[2] * v[1];
      face_normals[3 * f + 1] = u[2] * v[0] - u[0] * v[2];
      face_normals[3 * f + 2] = u[0] * v[1] - u[1] * v[0];
    }
#pragma omp for schedule(static)
    for (i64 n = 0; n < vertex_count; ++n) {
      float x = 0, y = 0, z = 0;
      for (i64 k = starts[n]; k < starts[n + 1]; ++k) {
        const float* normal = face_normals + 3 * i64(around[k]);
        x += normal[0];
        y += normal[1];
        z += normal[2];
      }
      const float length = std::max(std::sqrt(x * x + y * y + z * z), 1e-20f);
      normals[3 * n] = x / length;
      normals[3 * n + 1] = y / length;
      normals[3 * n + 2] = z / length;
    }
  }
}

// face_index (H, W), bary (H, W, 3), faces and uv_faces (F, 3), uvs (U, 2), texels (S, S, 4, P) int16, coefficients and
// scales (P,), normals (V, 3), axes (R, 3) and light (L, L, R, 4) or null, background (3,) -> picture (H, W, 4). P is a
// multiple of 8; the picture's colors are not clamped. touched (S, S) and blended (S, S, 4), all 0, are scratch: a texel
// is blended once, however many pixels read it.
HA_API void ha_shade_baked(const int32_t* face_index, const float* bary, const int32_t* faces, const int32_t* uv_faces,
                           const float* uvs, const int16_t* texels, const float* scales, const float* coefficients,
                           const float* normals, const float* axes, const float* light, i64 shadings,
                           const float* background, i64 height, i64 width, i64 side, i64 maps, i64 light_side,
                           uint8_t* touched, float* blended, float* picture) {
  alignas(64) float factor[kMost];
  if (maps > kMost) return;
  for (i64 k = 0; k < maps; ++k) factor[k] = coefficients[k] * scales[k];
#pragma omp parallel
  {
#pragma omp for schedule(dynamic, 8)
    for (i64 y = 0; y < height; ++y)
      for (i64 x = 0; x < width; ++x) {
        const i64 at = y * width + x, f = face_index[at];
        if (f < 0) continue;
        float* place = picture + 4 * at;  // until colors come, where on the maps the pixel lies
        place[0] = place[1] = 0;
        for (int k = 0; k < 3; ++k) {
          const float* corner = uvs + 2 * i64(uv_faces[3 * f + k]);
          place[0] += bary[3 * at + k] * corner[0];
          place[1] += bary[3 * at + k] * corner[1];
        }
        const Spot spot(place[0], place[1], side);
        for (i64 t : {spot.at, spot.at + spot.right, spot.at + spot.down, spot.at + spot.down + spot.right}) {
          uint8_t* mark = touched + t;
#pragma omp atomic write
          *mark = 1;
        }
      }
#pragma omp for schedule(dynamic, 4)
    for (i64 row = 0; row < side; ++row)
      for (i64 texel = row * side; texel < (row + 1) * side; ++texel) {
        if (!touched[texel]) continue;
        const int16_t* t = texels + texel * kChannels * maps;
        for (int c = 0; c < kChannels; ++c, t += maps) {
          vf total = vf{};
          for (i64 k = 0; k < maps; k += kLanes)
            total += load<vf>(factor + k) * __builtin_convertvector(load<vs>(t + k), vf);
          blended[kChannels * texel + c] = sum(total);
        }
      }
#pragma omp for schedule(dynamic, 8)
    for (i64 y = 0; y < height; ++y)
      for (i64 x = 0; x < width; ++x) {
        const i64 at = y * width + x, f = face_index[at];
        float* out = picture + 4 * at;
        if (f < 0) {
          for (int c = 0; c < 3; ++c) out[c] = background[c];
          out[3] = 0;
          continue;
        }
        const float u = out[0], v = out[1];
        vc color = Spot(u, v, side).read(blended, kChannels);
        if (normals) {
          float n[3] = {0, 0, 0};
          for (int k = 0; k < 3; ++k)
            for (int d = 0; d < 3; ++d) n[d] += bary[3 * at + k] * normals[3 * i64(faces[3 * f + k]) + d];
          const float length = std::max(std::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), 1e-20f);
          const Spot spot(u, v, light_side);
          for (i64 r = 0; r < shadings; ++r) {
            const float along = n[0] * axes[3 * r] + n[1] * axes[3 * r + 1] + n[2] * axes[3 * r + 2];
            color += spot.read(light + kChannels * r, kChannels * shadings) * (along / length);
          }
        }
        const float opacity = std::min(std::max(0.f, color[3]), 1.f);
        for (int c = 0; c < 3; ++c) out[c] = color[c] * opacity + background[c] * (1 - opacity);
        out[3] = opacity;
      }
  }
}
