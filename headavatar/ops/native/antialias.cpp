// Silhouette anti-aliasing and its gradients.
#include <algorithm>
#include <cmath>
#include <vector>

#include "silhouettes.h"

namespace {

using ha::crossing;
using ha::i64;
using ha::look;
using ha::Mesh;
constexpr int kBand = 16;  // rows of a task

// A share of one vertex's gradient.
struct Share {
  int32_t vertex;
  int axis;
  float value;
};

}  // namespace

// face_index, depth (B, H, W), vertices (B, V, 3), faces and twins (F, 3) -> weights, edges (B, H, W, 2): of each
// pixel's pairs with the next one in its row and the next one in its column, what is blended and by which edge
HA_API void ha_find_silhouettes(const int32_t* face_index, const float* depth, const float* vertices,
                                const int32_t* faces, const int32_t* twins, i64 frames, i64 vertex_count, i64 height,
                                i64 width, float* weights, int32_t* edges) {
#pragma omp parallel for schedule(dynamic, kBand)
  for (i64 row = 0; row < frames * height; ++row) {
    const i64 b = row / height, y = row % height;
    const Mesh mesh{vertices + 3 * b * vertex_count, faces, twins};
    for (i64 x = 0; x < width; ++x) {
      const i64 at = row * width + x;
      weights[2 * at] = weights[2 * at + 1] = 0;
      edges[2 * at] = edges[2 * at + 1] = -1;
      if (x + 1 < width)
        look(mesh, face_index, depth, at, at + 1, 0, int(x), int(y), weights + 2 * at, edges + 2 * at);
      if (y + 1 < height)
        look(mesh, face_index, depth, at, at + width, 1, int(x), int(y), weights + 2 * at + 1, edges + 2 * at + 1);
    }
  }
}

// picture (B, H, W, C) -> blended. The first of a pair takes of the second where the weight is positive, else the
// second of the first.
HA_API void ha_antialias(const float* picture, const float* weights, const int32_t* edges, i64 frames, i64 height,
                         i64 width, i64 channels, float* blended) {
#pragma omp parallel for schedule(static)
  for (i64 row = 0; row < frames * height; ++row) {
    const i64 y = row % height;
    std::copy(picture + row * width * channels, picture + (row + 1) * width * channels,
              blended + row * width * channels);
    const auto add = [&](i64 at, i64 from, float weight) {
      for (i64 k = 0; k < channels; ++k)
        blended[at * channels + k] += weight * (picture[from * channels + k] - picture[at * channels + k]);
    };
    for (i64 x = 0; x < width; ++x) {
      const i64 at = row * width + x;
      if (edges[2 * at] >= 0 && weights[2 * at] > 0) add(at, at + 1, weights[2 * at]);
      if (x > 0 && edges[2 * at - 2] >= 0 && weights[2 * at - 2] <= 0) add(at, at - 1, -weights[2 * at - 2]);
      if (edges[2 * at + 1] >= 0 && weights[2 * at + 1] > 0) add(at, at + width, weights[2 * at + 1]);
      if (y > 0) {
        const i64 up = at - width;
        if (edges[2 * up + 1] >= 0 && weights[2 * up + 1] <= 0) add(at, up, -weights[2 * up + 1]);
      }
    }
  }
}

// Gradient of blended -> grad_picture (B, H, W, C) and grad_vertices (B, V, 3); either may be null
HA_API void ha_antialias_backward(const float* picture, const float* weights, const int32_t* edges, const float* grad,
                                  const float* vertices, const int32_t* faces, i64 frames, i64 vertex_count,
                                  i64 height, i64 width, i64 channels, float* grad_picture, float* grad_vertices) {
  if (grad_picture) {
#pragma omp parallel for schedule(static)
    for (i64 row = 0; row < frames * height; ++row) {
      const i64 y = row % height;
      std::copy(grad + row * width * channels, grad + (row + 1) * width * channels,
                grad_picture + row * width * channels);
      // `at` is one of a pair, `other` the other one, `taken` what the pair's target takes of its other pixel.
      const auto add = [&](i64 at, i64 other, bool target, float taken) {
        const float* g = grad + (target ? at : other) * channels;
        for (i64 k = 0; k < channels; ++k) grad_picture[at * channels + k] += (target ? -taken : taken) * g[k];
      };
      for (i64 x = 0; x < width; ++x) {
        const i64 at = row * width + x;
        for (int axis = 0; axis < 2; ++axis) {
          const i64 step = axis == 0 ? 1 : width;
          if (edges[2 * at + axis] >= 0) {
            const float weight = weights[2 * at + axis];
            add(at, at + step, weight > 0, std::fabs(weight));
          }
          if ((axis == 0 ? x : y) > 0 && edges[2 * (at - step) + axis] >= 0) {
            const float weight = weights[2 * (at - step) + axis];
            add(at, at - step, !(weight > 0), std::fabs(weight));
          }
        }
      }
    }
  }
  if (!grad_vertices) return;
  // Silhouettes are few: each band lists its shares, and the lists are added one after the other.
  const i64 bands = ha::ceil_div(height, kBand);
  std::vector<std::vector<Share>> lists(frames * bands);
#pragma omp parallel for schedule(dynamic, 1)
  for (i64 task = 0; task < frames * bands; ++task) {
    const i64 b = task / bands, row0 = task % bands * kBand;
    const float* v = vertices + 3 * b * vertex_count;
    for (i64 y = row0; y < std::min(row0 + kBand, height); ++y)
      for (i64 x = 0; x < width; ++x)
        for (int axis = 0; axis < 2; ++axis) {
          const i64 at = (b * height + y) * width + x;
          const i64 edge = edges[2 * at + axis];
          if (edge < 0) continue;
          const i64 next = at + (axis == 0 ? 1 : width);
          const float* g = grad + (weights[2 * at + axis] > 0 ? at : next) * channels;
          double moved = 0;  // gradient of where the edge crosses
          for (i64 k = 0; k < channels; ++k)
            moved -= double(g[k]) * (double(picture[next * channels + k]) - picture[at * channels + k]);
          const int across = 1 - axis;
          const int32_t ia = faces[edge % 3 == 2 ? edge - 2 : edge + 1], ib = faces[edge % 3 == 0 ? edge + 2 : edge - 1];
          double slope;
          const double line = (axis == 0 ? y : x) + 0.5;
          const float *pa = v + 3 * i64(ia), *pb = v + 3 * i64(ib);
          crossing(pa, pb, axis, line, &slope);
          const double share = (line - pa[across]) / (double(pb[across]) - pa[across]);
          lists[task].push_back({ia, axis, float(moved * (1 - share))});
          lists[task].push_back({ib, axis, float(moved * share)});
          lists[task].push_back({ia, across, float(-moved * (1 - share) * slope)});
          lists[task].push_back({ib, across, float(-moved * share * slope)});
        }
  }
  std::fill(grad_vertices, grad_vertices + 3 * frames * vertex_count, 0.f);
#pragma omp parallel for schedule(static)
  for (i64 b = 0; b < frames; ++b)
    for (i64 task = b * bands; task < (b + 1) * bands; ++task)
      for (const Share& s : lists[task]) grad_vertices[3 * (b * vertex_count + s.vertex) + s.axis] += s.value;
}
