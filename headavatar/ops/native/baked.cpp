// A baked head drawn in one call: faces sorted into bands, rasterized, shaded where they are seen, outlines blended.
// Compiled without contraction, so that pixels see the faces, and outlines the edges, that ha_rasterize and
// ha_find_silhouettes find.
#include <memory>
#include <vector>

#include "raster.h"
#include "shading.h"
#include "silhouettes.h"

namespace {

using ha::BakedArgs;
using ha::Box;
using ha::ceil_div;
using ha::i64;
using ha::kBand;
constexpr i64 kChunks = 64;  // of faces: a list's order depends on the mesh only, not on the threads
constexpr double kMargin = 0.01;  // pixels by which a crossing may be misjudged
constexpr i64 kWide = 4;          // pixels looked at together
constexpr i64 kTile = 4;          // texels along an edge of what is blended together

typedef double vd __attribute__((vector_size(kWide * 8)));
typedef int64_t vl __attribute__((vector_size(kWide * 8)));
constexpr vd kCenters = {0.5, 1.5, 2.5, 3.5};

template <class T>
struct Buffer {  // not filled
  std::unique_ptr<T[]> data;
  explicit Buffer(i64 size) : data(new T[size]) {}
  T* operator+(i64 n) const { return data.get() + n; }
  T& operator[](i64 n) const { return data[n]; }
  operator T*() const { return data.get(); }
};

template <class T>
struct Zeros : Buffer<T> {
  explicit Zeros(i64 size) : Buffer<T>(size) { std::memset(this->data.get(), 0, size * sizeof(T)); }
};

// What a pixel takes of a neighbor.
struct Blend {
  i64 to, from;
  float weight;
};

// `value` in [0, limit); what is not a number goes to 0.
inline i64 held(double value, i64 limit) { return i64(std::min(std::max(0.0, value), double(limit - 1))); }

struct Picture {
  const BakedArgs& args;
  const i64 bands;
  Buffer<Box> boxes;
  Buffer<int8_t> facing;  // -1 and 1: which way the corners run; 0 where that is a matter of rounding
  Buffer<i64> counts;     // (kChunks, 2 bands): of every band the faces seen from outside, and the others
  Buffer<i64> starts;     // (2 bands + 1,)
  std::vector<int32_t> lists;
  Buffer<int32_t> image;
  Buffer<float> bary, normals, blended, over;  // over: share of the cover at vertices
  const ha::Refined refined;
  const i64 tiles;                         // along an edge of the coarse maps
  Zeros<uint8_t> needed, touched, marked;  // vertices, tiles, pairs of pixels
  std::vector<std::vector<Blend>> blends;

  explicit Picture(const BakedArgs& a)
      : args(a), bands(ceil_div(a.height, kBand)), boxes(a.face_count), facing(a.face_count),
        counts(kChunks * 2 * bands), starts(2 * bands + 1), image(a.height * a.width), bary(3 * a.height * a.width),
        normals(3 * a.vertex_count), blended(4 * a.coarse_side * a.coarse_side), over(a.vertex_count), refined(a.side, a.coarse_side),
        tiles(ceil_div(a.coarse_side, kTile)), needed(a.vertex_count), touched(tiles * tiles),
        marked(2 * a.height * a.width), blends(bands) {}

  i64 chunk(i64 n) const { return n * args.face_count / kChunks; }
  const float* corner(i64 face, int k) const { return args.vertices + 3 * i64(args.faces[3 * face + k]); }

  // Whether a face needs no cutting: it lies beyond the near plane, and its coordinates are numbers.
  bool plain(const float* a, const float* b, const float* c) const {
    return std::min(a[2], std::min(b[2], c[2])) > args.near && std::isfinite((a[0] + b[0] + c[0]) + (a[1] + b[1] + c[1]));
  }

  Box bounds(const float* a, const float* b, const float* c) const {
    const auto low = [&](int d) { return double(std::min(a[d], std::min(b[d], c[d]))); };
    const auto high = [&](int d) { return double(std::max(a[d], std::max(b[d], c[d]))); };
    return {ha::first_pixel(low(0), int(args.width)), ha::last_pixel(high(0), int(args.width)),
            ha::first_pixel(low(1), int(args.height)), ha::last_pixel(high(1), int(args.height))};
  }

  // Boxes, facing and counts of a chunk of faces.
  void sort(i64 n) {
    i64* count = counts + n * 2 * bands;
    std::fill(count, count + 2 * bands, 0);
    for (i64 f = chunk(n); f < chunk(n + 1); ++f) {
      const float *a = corner(f, 0), *b = corner(f, 1), *c = corner(f, 2);
      const double left = (double(b[0]) - a[0]) * (double(c[1]) - a[1]);
      const double right = (double(b[1]) - a[1]) * (double(c[0]) - a[0]);
      const double doubt = 1e-9 * (std::fabs(left) + std::fabs(right));
      facing[f] = int8_t((left - right > doubt) - (left - right < -doubt));
      const Box box = boxes[f] = plain(a, b, c) ? bounds(a, b, c)
                                                : ha::bounds(args.vertices, args.faces + 3 * f, int(args.height),
                                                             int(args.width), args.near, args.cull != 0);
      if (box.x0 > box.x1 || box.y0 > box.y1) continue;
      for (int k = box.y0 / kBand; k <= box.y1 / kBand; ++k) ++count[2 * k + (facing[f] > 0)];
    }
  }

  // Counts become places in the lists.
  void place() {
    i64 total = 0;
    for (i64 key = 0; key < 2 * bands; ++key) {
      starts[key] = total;
      for (i64 n = 0; n < kChunks; ++n) {
        const i64 count = counts[n * 2 * bands + key];
        counts[n * 2 * bands + key] = total;
        total += count;
      }
    }
    starts[2 * bands] = total;
    lists.resize(total);
  }

  void list(i64 n) {
    i64* next = counts + n * 2 * bands;
    for (i64 f = chunk(n); f < chunk(n + 1); ++f) {
      const Box& box = boxes[f];
      if (box.x0 > box.x1 || box.y0 > box.y1) continue;
      for (int k = box.y0 / kBand; k <= box.y1 / kBand; ++k) lists[next[2 * k + (facing[f] > 0)]++] = int32_t(f);
    }
  }

  // Of all edges those in which a surface may end, and the pairs of pixels between whose centers they pass: the only
  // ones that `look` need be asked about.
  void mark(i64 n) {
    for (i64 f = chunk(n); f < chunk(n + 1); ++f)
      for (int k = 0; k < 3; ++k) {
        const i64 edge = 3 * f + k, twin = args.twins[edge];
        if (twin != ha::kBoundary) {
          if (twin < edge) continue;  // the twin's turn, or an edge of many faces
          const int turned = facing[f] * facing[twin / 3];
          if (turned > 0 && (args.oriented || along(edge, twin))) continue;
          if (turned < 0 && !args.oriented && !along(edge, twin)) continue;
        }
        cross(corner(f, (k + 1) % 3), corner(f, (k + 2) % 3));
      }
  }

  // Whether the two faces of an edge run through it in opposite directions.
  bool along(i64 edge, i64 twin) const {
    return args.faces[3 * (edge / 3) + (edge + 1) % 3] != args.faces[3 * (twin / 3) + (twin + 1) % 3];
  }

  void cross(const float* a, const float* b) {
    const double d[2] = {double(b[0]) - a[0], double(b[1]) - a[1]};
    if (!std::isfinite(d[0] + d[1])) return;
    const int axis = std::fabs(d[0]) > std::fabs(d[1]) ? 1 : 0, over = 1 - axis;  // flat ones: pixels above each other
    const i64 limit[2] = {args.width, args.height};
    const double low = std::min(a[over], b[over]) - kMargin, high = std::max(a[over], b[over]) + kMargin;
    if (!(high > 0.5) || !(low < limit[over] - 0.5) || limit[axis] < 2) return;
    const double slope = d[over] != 0 ? d[axis] / d[over] : 0;
    for (i64 line = held(std::ceil(low - 0.5), limit[over]); line <= held(std::floor(high - 0.5), limit[over]); ++line) {
      const double at = a[axis] + (line + 0.5 - a[over]) * slope - 0.5;
      for (double nearby : {at - kMargin, at + kMargin}) {
        if (!(nearby >= 0 && nearby < limit[axis] - 1)) continue;
        const i64 before = i64(nearby);
        store(marked + 2 * (axis == 0 ? line * args.width + before : before * args.width + line) + axis);
      }
    }
  }

  // Threads may write the same 1 at once; a line that one has written is slow for the other to write, so most do not.
  static void store(uint8_t* mark) {
    uint8_t before;
#pragma omp atomic read
    before = *mark;
    if (before) return;
#pragma omp atomic write
    *mark = 1;
  }

  static vd at(const ha::Triangle& t, int k, vd px, double py) { return t.edge[k][0] * px + t.edge[k][1] * py + t.edge[k][2]; }

  // A pixel that a face may cover, whose nearest surface yet is at depth `known`.
  void keep(const ha::Triangle& t, int32_t f, i64 y, i64 x, double e0, double e1, double e2, double& known) {
    if (!(ha::covers(t.edge[0], e0) && ha::covers(t.edge[1], e1) && ha::covers(t.edge[2], e2))) return;
    const double h0 = e0 * t.scale[0], h1 = e1 * t.scale[1], h2 = e2 * t.scale[2];
    const double total = (h0 + h1) + h2, z = t.det / total;
    const i64 at = y * args.width + x;
    // Those seen from outside come first, but of faces at equal depth the first one of the mesh wins.
    if (!(z > args.near) || !(z < known || (z == known && f < image[at]))) return;
    known = z;
    image[at] = f;
    args.depth[at] = float(z);
    bary[3 * at] = float(h0 / total);
    bary[3 * at + 1] = float(h1 / total);
    bary[3 * at + 2] = float(h2 / total);
  }

  void draw(i64 band, double* nearest) {
    const i64 width = args.width, row0 = band * kBand, row1 = std::min(row0 + kBand, args.height);
    std::fill(image + row0 * width, image + row1 * width, -1);
    std::fill(args.depth + row0 * width, args.depth + row1 * width, 0.f);
    std::fill(nearest, nearest + kBand * width, std::numeric_limits<double>::infinity());
    for (i64 n = starts[2 * band]; n < starts[2 * band + 2]; ++n) {
      const int32_t f = lists[n];
      const Box& box = boxes[f];
      const int32_t* face = args.faces + 3 * i64(f);
      if (hidden(args.vertices, face, box, int(row0), int(row1), nearest, width)) continue;
      ha::Triangle t;
      if (!set_up(args.vertices, face, args.cull != 0, t)) continue;
      for (i64 y = std::max<i64>(box.y0, row0); y <= std::min<i64>(box.y1, row1 - 1); ++y)
        for (i64 x = box.x0; x <= box.x1; x += kWide) {
          const double py = double(y) + 0.5;
          const vd px = double(x) + kCenters;
          const vd e[3] = {at(t, 0, px, py), at(t, 1, px, py), at(t, 2, px, py)};
          const vl inside = (e[0] >= 0) & (e[1] >= 0) & (e[2] >= 0);
          if (!((inside[0] | inside[1]) | (inside[2] | inside[3]))) continue;
          for (i64 n = 0; n < std::min(kWide, box.x1 - x + 1); ++n)
            if (inside[n]) keep(t, f, y, x + n, e[0][n], e[1][n], e[2][n], nearest[(y - row0) * width + x + n]);
        }
    }
    for (i64 at = row0 * width; at < row1 * width; ++at)
      if (image[at] >= 0) find_texels(at);
  }

  // Where on the maps a pixel lies, kept where its color will be; and what it will read.
  void find_texels(i64 at) {
    const i64 f = image[at];
    float u = 0, v = 0;
    for (int k = 0; k < 3; ++k) {
      const float* corner = args.uvs + 2 * i64(args.uv_faces[3 * f + k]);
      u += bary[3 * at + k] * corner[0];
      v += bary[3 * at + k] * corner[1];
      if (args.points) store(needed + args.faces[3 * f + k]);
    }
    args.rgb[3 * at] = u;
    args.rgb[3 * at + 1] = v;
    const ha::Spot spot(u, v, args.side);
    const i64 row = refined.first[spot.row], column = refined.first[spot.column], more = refined.taps - 1;
    for (i64 y = row / kTile; y <= (row + more) / kTile; ++y)
      for (i64 x = column / kTile; x <= (column + more) / kTile; ++x) store(touched + y * tiles + x);
  }

  void blend_tile(i64 tile) {
    if (!touched[tile]) return;
    const i64 side = args.coarse_side, row0 = tile / tiles * kTile, column0 = tile % tiles * kTile;
    for (i64 row = row0; row < std::min(row0 + kTile, side); ++row)
      for (i64 texel = row * side + column0; texel < row * side + std::min(column0 + kTile, side); ++texel)
        ha::blend_texel(args, args.texels + texel * 4 * args.maps, blended + 4 * texel);
  }

  // Weighed by area.
  void find_normal(i64 vertex) {
    float sum[3] = {0, 0, 0};
    for (i64 n = args.starts[vertex]; n < args.starts[vertex + 1]; ++n) {
      const int32_t* face = args.faces + 3 * i64(args.around[n]);
      const float *a = args.points + 3 * i64(face[0]), *b = args.points + 3 * i64(face[1]);
      const float* c = args.points + 3 * i64(face[2]);
      const float u[3] = {b[0] - a[0], b[1] - a[1], b[2] - a[2]}, v[3] = {c[0] - a[0], c[1] - a[1], c[2] - a[2]};
      sum[0] += u[1] * v[2] - u[2] * v[1];
      sum[1] += u[2] * v[0] - u[0] * v[2];
      sum[2] += u[0] * v[1] - u[1] * v[0];
    }
    const float length = std::max(std::sqrt(sum[0] * sum[0] + sum[1] * sum[1] + sum[2] * sum[2]), 1e-20f);
    for (int d = 0; d < 3; ++d) normals[3 * vertex + d] = sum[d] / length;
    if (args.cover) find_cover(vertex);
  }

  // How far a vertex is seen more face on than its cover begins.
  void find_cover(i64 vertex) {
    const float *point = args.points + 3 * vertex, *normal = normals + 3 * vertex;
    const float along = normal[0] * point[0] + normal[1] * point[1] + normal[2] * point[2];
    const float away = std::sqrt(point[0] * point[0] + point[1] * point[1] + point[2] * point[2]);
    const float facing = std::fabs(along) / std::max(away, 1e-20f);
    over[vertex] = std::min(std::max(0.f, (facing - args.cover[4 * vertex + 3]) / args.covered), 1.f);
  }

  void lay_cover(i64 at) {
    const int32_t* face = args.faces + 3 * i64(image[at]);
    if (!(over[face[0]] > 0 || over[face[1]] > 0 || over[face[2]] > 0)) return;
    float color[3] = {0, 0, 0}, share = 0, *rgb = args.rgb + 3 * at;
    for (int k = 0; k < 3; ++k) {
      share += bary[3 * at + k] * over[face[k]];
      for (int c = 0; c < 3; ++c) color[c] += bary[3 * at + k] * args.cover[4 * i64(face[k]) + c];
    }
    for (int c = 0; c < 3; ++c) rgb[c] += share * (color[c] - rgb[c]);
    args.alpha[at] += share * (1 - args.alpha[at]);
  }

  void shade(i64 at) {
    const i64 f = image[at];
    float* rgb = args.rgb + 3 * at;
    if (f < 0) {
      std::copy(args.background, args.background + 3, rgb);
      args.alpha[at] = 0;
      return;
    }
    float normal[3] = {0, 0, 0};
    if (args.points)
      for (int k = 0; k < 3; ++k)
        for (int d = 0; d < 3; ++d) normal[d] += bary[3 * at + k] * normals[3 * i64(args.faces[3 * f + k]) + d];
    ha::shade(args, refined, blended, rgb[0], rgb[1], args.points ? normal : nullptr, rgb, args.alpha + at);
    if (args.cover) lay_cover(at);
  }

  void find_blends(i64 band) {
    const ha::Mesh mesh{args.vertices, args.faces, args.twins};
    for (i64 y = band * kBand; y < std::min((band + 1) * kBand, args.height); ++y)
      for (i64 x = 0; x < args.width; ++x) {
        const i64 at = y * args.width + x;
        if (!(marked[2 * at] | marked[2 * at + 1])) continue;
        for (int axis = 0; axis < 2; ++axis) {
          const i64 next = at + (axis == 0 ? 1 : args.width);
          if (!marked[2 * at + axis] || image[at] == image[next]) continue;
          float weight;
          int32_t edge;
          look(mesh, image, args.depth, at, next, axis, int(x), int(y), &weight, &edge);
          if (edge < 0) continue;
          if (weight > 0) blends[band].push_back({at, next, weight});
          else blends[band].push_back({next, at, -weight});
        }
      }
  }

  // Pixels on silhouettes are few.
  void blend() {
    std::vector<float> changes;
    const auto value = [&](i64 at, int c) -> float& { return c < 3 ? args.rgb[3 * at + c] : args.alpha[at]; };
    for (const auto& some : blends)
      for (const Blend& b : some)
        for (int c = 0; c < 4; ++c) changes.push_back(b.weight * (value(b.from, c) - value(b.to, c)));
    const float* change = changes.data();
    for (const auto& some : blends)
      for (const Blend& b : some)
        for (int c = 0; c < 4; ++c) value(b.to, c) += *change++;
  }
};

inline void clamp(float* values, i64 count) {
  for (i64 n = 0; n < count; ++n) values[n] = std::min(std::max(values[n], 0.f), 1.f);
}

}  // namespace

// What the arguments are: ops/native/baked.py.
HA_API void ha_draw_baked(const BakedArgs* pointer) {
  const BakedArgs& args = *pointer;
  Picture picture(args);
#pragma omp parallel
  {
#pragma omp for schedule(dynamic, 1)
    for (i64 n = 0; n < kChunks; ++n) picture.sort(n);
#pragma omp single
    picture.place();
#pragma omp for schedule(dynamic, 1)
    for (i64 n = 0; n < kChunks; ++n) {
      picture.list(n);
      picture.mark(n);
    }
    std::vector<double> nearest(kBand * args.width);
#pragma omp for schedule(dynamic, 1)
    for (i64 band = 0; band < picture.bands; ++band) picture.draw(band, nearest.data());
#pragma omp for schedule(dynamic, 16) nowait
    for (i64 tile = 0; tile < picture.tiles * picture.tiles; ++tile) picture.blend_tile(tile);
#pragma omp for schedule(dynamic, 256)
    for (i64 vertex = 0; vertex < args.vertex_count; ++vertex)
      if (picture.needed[vertex]) picture.find_normal(vertex);
#pragma omp for schedule(dynamic, 1)
    for (i64 band = 0; band < picture.bands; ++band) {
      for (i64 at = band * kBand * args.width; at < std::min((band + 1) * kBand, args.height) * args.width; ++at)
        picture.shade(at);
      picture.find_blends(band);
    }
#pragma omp single
    picture.blend();
#pragma omp for schedule(static)
    for (i64 row = 0; row < args.height; ++row) {
      clamp(args.rgb + 3 * row * args.width, 3 * args.width);
      clamp(args.alpha + row * args.width, args.width);
    }
  }
}
