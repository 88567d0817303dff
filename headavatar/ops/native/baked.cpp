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
constexpr int kMost = 512;  // maps
constexpr int kChannels = 4;  // RGB and opacity

template <class V, class T>
inline V load(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline vf texel(const int16_t* p) { return __builtin_convertvector(load<vs>(p), vf); }

inline float sum(vf v) { return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7])); }

}  // namespace

// points (V, 3), faces (F, 3), starts (V + 1,), around (3 F,) -> normals (V, 3), weighed by area, not normalized.
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
      normals[3 * n] = x;
      normals[3 * n + 1] = y;
      normals[3 * n + 2] = z;
    }
  }
}

// face_index (H, W), bary (H, W, 3), faces and uv_faces (F, 3), uvs (U, 2), texels (S, S, 4, P) int16, coefficients and
// scales (P,), normals (V, 3) and axes (R, 3) or null, background (3,) -> picture (H, W, 4). P is a multiple of 8. The
// picture's colors are not clamped.
HA_API void ha_shade_baked(const int32_t* face_index, const float* bary, const int32_t* faces, const int32_t* uv_faces,
                           const float* uvs, const int16_t* texels, const float* scales, const float* coefficients,
                           i64 first_shading, const float* normals, const float* axes, i64 shadings,
                           const float* background, i64 height, i64 width, i64 side, i64 maps, float* picture) {
  alignas(64) float fixed[kMost];
  if (maps > kMost) return;
  for (i64 k = 0; k < maps; ++k) fixed[k] = coefficients[k] * scales[k];
#pragma omp parallel for schedule(dynamic, 8)
  for (i64 y = 0; y < height; ++y) {
    alignas(64) float factor[kMost];
    std::copy(fixed, fixed + maps, factor);
    for (i64 x = 0; x < width; ++x) {
      const i64 at = y * width + x;
      float* out = picture + 4 * at;
      const i64 f = face_index[at];
      if (f < 0) {
        for (int c = 0; c < 3; ++c) out[c] = background[c];
        out[3] = 0;
        continue;
      }
      const float* b = bary + 3 * at;
      float u = 0, v = 0;
      for (int k = 0; k < 3; ++k) {
        const float* corner = uvs + 2 * i64(uv_faces[3 * f + k]);
        u += b[k] * corner[0];
        v += b[k] * corner[1];
      }
      if (normals) {
        float n[3] = {0, 0, 0};
        for (int k = 0; k < 3; ++k)
          for (int d = 0; d < 3; ++d) n[d] += b[k] * normals[3 * i64(faces[3 * f + k]) + d];
        const float length = std::max(std::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), 1e-20f);
        for (i64 r = 0; r < shadings; ++r)
          factor[first_shading + r] = scales[first_shading + r] / length *
                                      (n[0] * axes[3 * r] + n[1] * axes[3 * r + 1] + n[2] * axes[3 * r + 2]);
      }
      // The order of the arguments sends what is not a number to 0.
      const float px = std::min(std::max(0.f, u * float(side) - 0.5f), float(side - 1));
      const float py = std::min(std::max(0.f, (1.f - v) * float(side) - 0.5f), float(side - 1));
      const i64 column = std::min(i64(px), std::max<i64>(side - 2, 0)), row = std::min(i64(py), std::max<i64>(side - 2, 0));
      const float fx = px - float(column), fy = py - float(row);
      const i64 stride = kChannels * maps, right = side > 1 ? stride : 0, down = side > 1 ? side * stride : 0;
      const float wa = (1 - fx) * (1 - fy), wb = fx * (1 - fy), wc = (1 - fx) * fy, wd = fx * fy;
      const int16_t* t = texels + (row * side + column) * stride;
      float sums[kChannels];
      for (int c = 0; c < kChannels; ++c, t += maps) {
        vf total = vf{};
        for (i64 k = 0; k < maps; k += kLanes)
          total += load<vf>(factor + k) * (texel(t + k) * wa + texel(t + right + k) * wb + texel(t + down + k) * wc +
                                        texel(t + down + right + k) * wd);
        sums[c] = sum(total);
      }
      const float opacity = std::min(std::max(0.f, sums[3]), 1.f);
      for (int c = 0; c < 3; ++c) out[c] = sums[c] * opacity + background[c] * (1 - opacity);
      out[3] = opacity;
    }
  }
}
