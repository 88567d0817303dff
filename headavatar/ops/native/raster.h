// How faces are rasterized, one like another wherever it is done: homogeneous edge functions in double precision.
// For files compiled without contraction, so that the two faces of an edge see exactly opposite values on it.
// Source: M. Olano, T. Greer 1997.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "common.h"

namespace ha {

constexpr int kBand = 16;   // rows that one task draws
constexpr int kSmall = 16;  // pixels of a box that are looked at before its face is

// e_i(p) = h_j x h_k . p is evaluated as scale[i] = z_j z_k times the edge function in the picture's plane, which for
// usual pixel coordinates is exact: faces that meet at an edge or a corner agree on whose a pixel is.
struct Triangle {
  double edge[3][3];  // in the plane: edge[i] . (x, y, 1), turned so that the inside is positive
  double scale[3];
  double det;

  double at(int k, double px, double py) const { return edge[k][0] * px + edge[k][1] * py + edge[k][2]; }
};

struct Box {
  int x0, x1, y0, y1;
};

// False where the face has no area, is not finite or, with cull, is seen from behind.
inline bool set_up(const float* v, const int32_t* face, bool cull, Triangle& t) {
  double c[3][3];
  for (int k = 0; k < 3; ++k)
    for (int d = 0; d < 3; ++d) c[k][d] = v[3 * i64(face[k]) + d];
  for (int k = 0; k < 3; ++k) {
    const double* a = c[(k + 1) % 3];
    const double* b = c[(k + 2) % 3];
    t.edge[k][0] = a[1] - b[1];
    t.edge[k][1] = b[0] - a[0];
    t.edge[k][2] = a[0] * b[1] - b[0] * a[1];
    t.scale[k] = a[2] * b[2];
  }
  t.det = t.scale[0] * c[0][2] * ((t.edge[0][2] + t.edge[1][2]) + t.edge[2][2]);
  double sum = t.det;
  for (const auto& edge : t.edge) sum += edge[0] + edge[1] + edge[2];
  if (!std::isfinite(sum) || t.det == 0 || (cull && t.det > 0)) return false;
  for (int k = 0; k < 3; ++k) {
    if ((t.scale[k] < 0) != (t.det < 0))
      for (double& coefficient : t.edge[k]) coefficient = -coefficient;
    t.scale[k] = std::fabs(t.scale[k]);
  }
  t.det = std::fabs(t.det);
  return true;
}

inline int first_pixel(double low, int limit) { return int(std::min(std::max(std::ceil(low - 0.5), 0.0), double(limit))); }
inline int last_pixel(double high, int limit) { return int(std::min(std::max(std::floor(high - 0.5), -1.0), limit - 1.0)); }

// Pixels whose centres may lie in the part of the face beyond the near plane; empty where there are none.
inline Box bounds(const float* v, const int32_t* face, int height, int width, double near, bool cull) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  double low[2] = {inf, inf}, high[2] = {-inf, -inf};
  int in_front = 0;
  for (int k = 0; k < 3; ++k) {
    const float* p = v + 3 * i64(face[k]);
    if (!(p[2] > near)) continue;
    ++in_front;
    for (int d = 0; d < 2; ++d) {
      low[d] = std::min(low[d], double(p[d]));
      high[d] = std::max(high[d], double(p[d]));
    }
  }
  if (in_front == 0) return {0, -1, 0, -1};
  if (cull && in_front == 3) {  // the greater part of what is culled needs no more than this
    const float *a = v + 3 * i64(face[0]), *b = v + 3 * i64(face[1]), *c = v + 3 * i64(face[2]);
    const double left = (double(b[0]) - a[0]) * (double(c[1]) - a[1]), right = (double(b[1]) - a[1]) * (double(c[0]) - a[0]);
    if (left - right > 1e-9 * (std::fabs(left) + std::fabs(right))) return {0, -1, 0, -1};
  }
  if (in_front < 3) {
    for (int k = 0; k < 3; ++k) {
      const float* a = v + 3 * i64(face[k]);
      const float* b = v + 3 * i64(face[(k + 1) % 3]);
      if ((a[2] > near) == (b[2] > near)) continue;
      const double za = a[2], zb = b[2], mix = (near - za) / (zb - za);
      for (int d = 0; d < 2; ++d) {
        const double cut = (a[d] * za * (1 - mix) + b[d] * zb * mix) / near;
        low[d] = std::min(low[d], cut - 1);
        high[d] = std::max(high[d], cut + 1);
      }
    }
  }
  for (int d = 0; d < 2; ++d)
    if (std::isnan(low[d]) || std::isnan(high[d])) return {0, -1, 0, -1};
  return {first_pixel(low[0], width), last_pixel(high[0], width), first_pixel(low[1], height),
          last_pixel(high[1], height)};
}

// A pixel exactly on an edge belongs to one of the two faces that share it.
inline bool covers(const double* edge, double value) {
  return value > 0 || (value == 0 && (edge[0] > 0 || (edge[0] == 0 && edge[1] > 0)));
}

// Whether a face lies behind what the rows of its small box already show; `farthest` is of the last layer.
inline bool hidden(const float* v, const int32_t* face, const Box& box, int row0, int row1, const double* farthest,
                   i64 width) {
  const float z0 = v[3 * i64(face[0]) + 2], z1 = v[3 * i64(face[1]) + 2], z2 = v[3 * i64(face[2]) + 2];
  const double least = std::min(z0, std::min(z1, z2)) * (1 - 1e-12);  // a depth is rounded
  if (!(least > 0) || (box.x1 - box.x0 + 1) * (box.y1 - box.y0 + 1) > kSmall) return false;
  for (int y = std::max(box.y0, row0); y <= std::min(box.y1, row1 - 1); ++y)
    for (int x = box.x0; x <= box.x1; ++x)
      if (least < farthest[(y - row0) * width + x]) return false;
  return true;
}

}  // namespace ha
