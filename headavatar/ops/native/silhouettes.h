// Where a silhouette passes between two pixels: S. Laine et al. 2020, section 3.4, following the surface from face to
// face. For files compiled without contraction, so that they find the same edges as the reference.
#pragma once

#include <cmath>

#include "common.h"

namespace ha {

constexpr int kSteps = 64;  // faces that a surface is followed over between two pixels
constexpr int kBoundary = -1;

// A frame's mesh on the picture.
struct Mesh {
  const float* vertices;  // (V, 3)
  const int32_t* faces;   // (F, 3)
  const int32_t* twins;   // (F, 3)

  const float* corner(i64 edge) const { return vertices + 3 * i64(faces[edge]); }
  const float* start(i64 edge) const { return corner(edge % 3 == 2 ? edge - 2 : edge + 1); }
  const float* end(i64 edge) const { return corner(edge % 3 == 0 ? edge + 2 : edge - 1); }
};

// Where the line through a and b crosses the row (axis 0) or column (axis 1) `line`.
inline double crossing(const float* a, const float* b, int axis, double line, double* slope) {
  const int across = 1 - axis;
  *slope = (double(b[axis]) - a[axis]) / (double(b[across]) - a[across]);
  return a[axis] + (line - a[across]) * *slope;
}

// Twice the signed area of a, b and p.
template <class T>
inline double side(const float* a, const float* b, const T* p) {
  return (double(b[0]) - a[0]) * (double(p[1]) - a[1]) - (double(b[1]) - a[1]) * (double(p[0]) - a[0]);
}

// The edge in which the surface of `face` ends on the way from its pixel's center to `to` along the axis, where `other`
// is seen; -1 where it does not end. `line` is the row or column that is followed.
inline i64 silhouette(const Mesh& mesh, i64 face, i64 other, int axis, bool backwards, const double* to, double line) {
  i64 entered = -1;
  for (int step = 0; step < kSteps; ++step) {
    const float* c[3];
    bool above[3];
    for (int k = 0; k < 3; ++k) {
      c[k] = mesh.corner(3 * face + k);
      above[k] = c[k][1 - axis] > line;
      if (!(c[k][2] > 0)) return -1;
    }
    // Of the two edges that cross the line it is left by the one that was not entered. Where it starts, the way in which
    // the corners run says which: seen along the row, the edge ahead goes up if they run counter-clockwise.
    const bool rising = (side(c[0], c[1], c[2]) > 0) == (backwards == (axis == 1));
    int k = 0;
    for (; k < 3; ++k) {
      const bool from = above[(k + 1) % 3], up = above[(k + 2) % 3];
      if (from != up && (entered < 0 ? up == rising : 3 * face + k != entered)) break;
    }
    if (k == 3) return -1;
    const float *a = c[(k + 1) % 3], *b = c[(k + 2) % 3];
    const double here = side(a, b, c[k]);
    if (side(a, b, to) * here > 0) return -1;  // the other pixel's center lies before the edge
    const i64 twin = mesh.twins[3 * face + k];
    if (twin == kBoundary) return 3 * face + k;
    if (twin < 0 || twin / 3 == other) return -1;  // what the other pixel sees is the surface itself, further on
    if (here * side(a, b, mesh.corner(twin)) > 0) return 3 * face + k;
    entered = twin;
    face = twin / 3;
  }
  return -1;
}

// The pair of the pixel (x, y) and its neighbor along the axis: the silhouette between them, and its blend's weight.
inline void look(const Mesh& mesh, const int32_t* image, const float* depth, i64 at, i64 next, int axis, int x, int y,
                 float* weight, int32_t* edge) {
  *weight = 0;
  *edge = -1;
  const int32_t first = image[at], second = image[next];
  if (first == second) return;
  const bool backwards = second >= 0 && (first < 0 || depth[next] < depth[at]);
  const double pixel[2] = {x + 0.5, y + 0.5};
  const double line = pixel[1 - axis];
  const double next_pixel[2] = {pixel[0] + (axis == 0), pixel[1] + (axis == 1)};
  const i64 found = backwards ? silhouette(mesh, second, first, axis, true, pixel, line)
                              : silhouette(mesh, first, second, axis, false, next_pixel, line);
  if (found < 0) return;
  double slope;
  const double place = crossing(mesh.start(found), mesh.end(found), axis, line, &slope);
  // Each piece of a silhouette counts once: a flat edge for pixels above each other, a steep one for those side by side.
  if (axis == 0 ? std::fabs(slope) > 1 : std::fabs(slope) >= 1) return;
  *weight = float(pixel[axis] + 0.5 - place);
  *edge = int32_t(found);
}

}  // namespace ha
