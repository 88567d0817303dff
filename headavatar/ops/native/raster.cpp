// Mesh rasterisation in layers, and its gradients.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "raster.h"

namespace {

using ha::bounds;
using ha::Box;
using ha::covers;
using ha::i64;
using ha::kBand;
using ha::Triangle;

// Where a picture's layers are drawn: (K, H, W) and, of bary, (K, H, W, 3).
struct Target {
  int32_t* image;
  float* bary;
  float* depth;
  i64 height, width, layers;
};

// Rows row0 to row1 of all layers. `nearest` holds their depths exactly, (K, kBand, W).
void draw_band(const float* v, const int32_t* faces, const Box* boxes, const int32_t* list, i64 count, int row0,
               int row1, double near, bool cull, double* nearest, const Target& to) {
  const i64 width = to.width, layers = to.layers, band = kBand * width, plane = to.height * width;
  for (i64 layer = 0; layer < layers; ++layer) {
    const i64 first = layer * plane + row0 * width, last = layer * plane + row1 * width;
    std::fill(to.image + first, to.image + last, -1);
    std::fill(to.bary + 3 * first, to.bary + 3 * last, 0.f);
    std::fill(to.depth + first, to.depth + last, 0.f);
  }
  std::fill(nearest, nearest + layers * band, std::numeric_limits<double>::infinity());
  for (i64 n = 0; n < count; ++n) {
    const int32_t f = list[n];
    const Box& box = boxes[f];
    if (hidden(v, faces + 3 * i64(f), box, row0, row1, nearest + (layers - 1) * band, width)) continue;
    Triangle t;
    if (!set_up(v, faces + 3 * i64(f), cull, t)) continue;
    for (int y = std::max(box.y0, row0); y <= std::min(box.y1, row1 - 1); ++y) {
      const double py = y + 0.5;
      for (int x = box.x0; x <= box.x1; ++x) {
        const double px = x + 0.5;
        const double e0 = t.at(0, px, py), e1 = t.at(1, px, py), e2 = t.at(2, px, py);
        if (!(e0 >= 0 && e1 >= 0 && e2 >= 0)) continue;
        if (!(covers(t.edge[0], e0) && covers(t.edge[1], e1) && covers(t.edge[2], e2))) continue;
        const double h0 = e0 * t.scale[0], h1 = e1 * t.scale[1], h2 = e2 * t.scale[2];
        const double total = (h0 + h1) + h2, z = t.det / total;
        double* known = nearest + (y - row0) * width + x;
        if (!(z > near) || !(z < known[(layers - 1) * band])) continue;
        const i64 at = y * width + x;
        i64 layer = layers - 1;
        for (; layer > 0 && z < known[(layer - 1) * band]; --layer) {  // what is behind moves one layer back
          const i64 here = layer * plane + at, before = here - plane;
          known[layer * band] = known[(layer - 1) * band];
          to.image[here] = to.image[before];
          to.depth[here] = to.depth[before];
          std::copy(to.bary + 3 * before, to.bary + 3 * before + 3, to.bary + 3 * here);
        }
        const i64 here = layer * plane + at;
        known[layer * band] = z;
        to.image[here] = f;
        to.depth[here] = float(z);
        to.bary[3 * here] = float(h0 / total);
        to.bary[3 * here + 1] = float(h1 / total);
        to.bary[3 * here + 2] = float(h2 / total);
      }
    }
  }
}

void cross_add(const double* a, const double* b, double scale, double* out) {
  out[0] += scale * (a[1] * b[2] - a[2] * b[1]);
  out[1] += scale * (a[2] * b[0] - a[0] * b[2]);
  out[2] += scale * (a[0] * b[1] - a[1] * b[0]);
}

// Adds one pixel's gradient to its face's corners.
void pixel_backward(const float* v, const int32_t* face, double px, double py, const float* grad_bary, float grad_depth,
                    float* grad) {
  double h[3][3], n[3][3], e[3], g[3][3] = {};
  const double p[3] = {px, py, 1};
  for (int k = 0; k < 3; ++k) {
    const float* c = v + 3 * i64(face[k]);
    h[k][0] = c[0] * double(c[2]);
    h[k][1] = c[1] * double(c[2]);
    h[k][2] = c[2];
  }
  double total = 0, weighted = 0;
  for (int k = 0; k < 3; ++k) {
    n[k][0] = n[k][1] = n[k][2] = 0;
    cross_add(h[(k + 1) % 3], h[(k + 2) % 3], 1, n[k]);
    e[k] = n[k][0] * p[0] + n[k][1] * p[1] + n[k][2];
    total += e[k];
  }
  const double det = h[0][0] * n[0][0] + h[0][1] * n[0][1] + h[0][2] * n[0][2];
  for (int k = 0; k < 3; ++k) weighted += grad_bary[k] * e[k] / total;
  for (int k = 0; k < 3; ++k) {
    const double grad_edge = (grad_bary[k] - weighted - grad_depth * det / total) / total;
    const double* a = h[(k + 1) % 3];
    const double* b = h[(k + 2) % 3];
    cross_add(b, p, grad_edge, g[(k + 1) % 3]);  // e_k = a x b . p
    cross_add(p, a, grad_edge, g[(k + 2) % 3]);
    for (int d = 0; d < 3; ++d) g[k][d] += grad_depth / total * n[k][d];  // det = h_k . n_k for each k
  }
  for (int k = 0; k < 3; ++k) {
    const float* c = v + 3 * i64(face[k]);
    float* out = grad + 3 * i64(face[k]);
    out[0] += float(g[k][0] * c[2]);
    out[1] += float(g[k][1] * c[2]);
    out[2] += float(g[k][0] * c[0] + g[k][1] * c[1] + g[k][2]);
  }
}

// Sums the pieces' buffers into out, in the order of the pieces.
void add_pieces(const std::vector<float>& pieces, i64 size, float* out) {
#pragma omp parallel for schedule(static)
  for (i64 i = 0; i < size; ++i) {
    float sum = 0;
    for (i64 k = 0; k < ha::kPieces; ++k) sum += pieces[k * size + i];
    out[i] = sum;
  }
}

}  // namespace

// vertices (B, V, 3), faces (F, 3) -> face_index (B, K, H, W), bary (B, K, H, W, 3), depth (B, K, H, W)
HA_API void ha_rasterize(const float* vertices, const int32_t* faces, i64 frames, i64 vertex_count, i64 face_count,
                         i64 height, i64 width, i64 layers, double near, int cull, int32_t* face_index, float* bary,
                         float* depth) {
  const int bands = int(ha::ceil_div(height, kBand));
  std::vector<Box> boxes(face_count);
  std::vector<i64> start(bands + 1);
  std::vector<int32_t> lists;
  for (i64 b = 0; b < frames; ++b) {
    const float* v = vertices + b * vertex_count * 3;
    const i64 first = b * layers * height * width;
    const Target to{face_index + first, bary + 3 * first, depth + first, height, width, layers};
#pragma omp parallel for schedule(static)
    for (i64 f = 0; f < face_count; ++f) boxes[f] = bounds(v, faces + 3 * f, int(height), int(width), near, cull != 0);
    std::fill(start.begin(), start.end(), 0);
    const auto drawn = [&](const Box& box) { return box.x0 <= box.x1 && box.y0 <= box.y1; };
    for (const Box& box : boxes)
      if (drawn(box))
        for (int k = box.y0 / kBand; k <= box.y1 / kBand; ++k) ++start[k + 1];
    for (int k = 0; k < bands; ++k) start[k + 1] += start[k];
    lists.resize(start[bands]);
    std::vector<i64> next(start.begin(), start.end() - 1);
    for (i64 f = 0; f < face_count; ++f)
      if (drawn(boxes[f]))
        for (int k = boxes[f].y0 / kBand; k <= boxes[f].y1 / kBand; ++k) lists[next[k]++] = int32_t(f);
#pragma omp parallel
    {
      std::vector<double> nearest(layers * kBand * width);
#pragma omp for schedule(dynamic, 1)
      for (int k = 0; k < bands; ++k) {
        const int row0 = k * kBand, row1 = int(std::min<i64>(row0 + kBand, height));
        draw_band(v, faces, boxes.data(), lists.data() + start[k], start[k + 1] - start[k], row0, row1, near,
                  cull != 0, nearest.data(), to);
      }
    }
  }
}

// Gradients of bary and depth -> grad_vertices (B, V, 3)
HA_API void ha_rasterize_backward(const float* vertices, const int32_t* faces, const int32_t* face_index,
                                  const float* grad_bary, const float* grad_depth, i64 frames, i64 vertex_count,
                                  i64 height, i64 width, i64 layers, float* grad_vertices) {
  const i64 size = vertex_count * 3;
  std::vector<float> pieces(ha::kPieces * size);
  for (i64 b = 0; b < frames; ++b) {
#pragma omp parallel for schedule(dynamic, 1)
    for (i64 piece = 0; piece < ha::kPieces; ++piece) {
      float* grad = pieces.data() + piece * size;
      std::fill(grad, grad + size, 0.f);
      const i64 rows = layers * height;
      for (i64 row = piece * rows / ha::kPieces; row < (piece + 1) * rows / ha::kPieces; ++row)
        for (i64 x = 0; x < width; ++x) {
          const i64 at = (b * rows + row) * width + x;
          if (face_index[at] < 0) continue;
          pixel_backward(vertices + b * size, faces + 3 * i64(face_index[at]), x + 0.5, row % height + 0.5,
                         grad_bary + 3 * at, grad_depth[at], grad);
        }
    }
    add_pieces(pieces, size, grad_vertices + b * size);
  }
}

// attributes (V, C), or (B, V, C) where stride is V * C instead of 0 -> picture (B, H, W, C)
HA_API void ha_interpolate(const float* attributes, i64 stride, const int32_t* faces, const int32_t* face_index,
                           const float* bary, i64 frames, i64 pixels, i64 channels, float* picture) {
#pragma omp parallel for schedule(static)
  for (i64 at = 0; at < frames * pixels; ++at) {
    float* out = picture + at * channels;
    if (face_index[at] < 0) {
      std::fill(out, out + channels, 0.f);
      continue;
    }
    const float* values = attributes + at / pixels * stride;
    const int32_t* face = faces + 3 * i64(face_index[at]);
    const float *a = values + face[0] * channels, *b = values + face[1] * channels, *c = values + face[2] * channels;
    const float u = bary[3 * at], v = bary[3 * at + 1], w = bary[3 * at + 2];
    for (i64 k = 0; k < channels; ++k) out[k] = u * a[k] + v * b[k] + w * c[k];
  }
}

// grad_attributes has the shape of attributes; either gradient may be null
HA_API void ha_interpolate_backward(const float* attributes, i64 stride, const int32_t* faces,
                                    const int32_t* face_index, const float* bary, const float* grad, i64 frames,
                                    i64 pixels, i64 channels, i64 vertex_count, float* grad_attributes,
                                    float* grad_bary) {
  if (grad_bary) {
#pragma omp parallel for schedule(static)
    for (i64 at = 0; at < frames * pixels; ++at) {
      float* out = grad_bary + 3 * at;
      out[0] = out[1] = out[2] = 0;
      if (face_index[at] < 0) continue;
      const float* values = attributes + at / pixels * stride;
      const int32_t* face = faces + 3 * i64(face_index[at]);
      for (int corner = 0; corner < 3; ++corner) {
        const float* value = values + face[corner] * channels;
        for (i64 k = 0; k < channels; ++k) out[corner] += grad[at * channels + k] * value[k];
      }
    }
  }
  if (!grad_attributes) return;
  const i64 size = vertex_count * channels;
  const i64 groups = stride ? frames : 1, rows = frames * pixels / groups;
  std::vector<float> pieces(ha::kPieces * size);
  for (i64 group = 0; group < groups; ++group) {
#pragma omp parallel for schedule(dynamic, 1)
    for (i64 piece = 0; piece < ha::kPieces; ++piece) {
      float* sum = pieces.data() + piece * size;
      std::fill(sum, sum + size, 0.f);
      for (i64 n = piece * rows / ha::kPieces; n < (piece + 1) * rows / ha::kPieces; ++n) {
        const i64 at = group * rows + n;
        if (face_index[at] < 0) continue;
        const int32_t* face = faces + 3 * i64(face_index[at]);
        for (int corner = 0; corner < 3; ++corner) {
          float* out = sum + face[corner] * channels;
          const float weight = bary[3 * at + corner];
          for (i64 k = 0; k < channels; ++k) out[k] += weight * grad[at * channels + k];
        }
      }
    }
    add_pieces(pieces, size, grad_attributes + group * size);
  }
}
