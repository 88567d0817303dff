// A baked head drawn in one call: faces sorted into bands, rasterized, shaded where they are seen, outlines blended.
// Compiled without contraction, so that pixels see the faces, and outlines the edges, that ha_rasterize and
// ha_find_silhouettes find.
#include <vector>

#include "seen.h"
#include "shading.h"
#include "silhouettes.h"

namespace {

using ha::BakedArgs;
using ha::Band;
using ha::Box;
using ha::Buffer;
using ha::ceil_div;
using ha::i64;
using ha::kBand;
using ha::vf4;
using ha::Zeros;
constexpr i64 kChunks = 64;  // of faces: a list's order depends on the mesh only, not on the threads
constexpr double kMargin = 0.01;  // pixels by which a crossing may be misjudged
constexpr i64 kAhead = 8;         // faces by which memory is asked before it is read
constexpr i64 kTile = 4;          // texels along an edge of what is blended together

// What a pixel takes of a neighbor.
struct Blend {
  i64 to, from;
  float weight;
};

// `value` in [0, limit); what is not a number goes to 0.
inline i64 held(double value, i64 limit) { return i64(std::min(std::max(0.0, value), double(limit - 1))); }

// Faces of a chunk, band by band; of each band those seen from outside, and the others.
struct Lists {
  float depth;  // of the nearest corners, together
  std::vector<i64> starts;
  std::vector<int32_t> faces;
};

// The first and the last of the tiles that a column, or a row, of the fine map reads: kTaps texels are in two at most.
struct Reach {
  int32_t first, last;
};

struct Picture {
  const BakedArgs& args;
  const i64 bands;
  Buffer<Box> boxes;
  Buffer<int8_t> facing;  // -1 and 1: which way the corners run; 0 where that is a matter of rounding
  std::vector<Lists> lists;
  Buffer<int32_t> image;
  ha::Shares shares;
  Buffer<float> u, v;  // with rows as those of `shares`
  Buffer<float> normals, blended;  // normals (V, 4): the fourth is the share of the cover
  const ha::Refined refined;
  const i64 tiles;                         // along an edge of the coarse maps
  Buffer<Reach> reach;                     // (side,)
  Zeros<uint8_t> needed, touched, marked;  // vertices, tiles, pairs of pixels
  std::vector<std::vector<Blend>> blends;

  explicit Picture(const BakedArgs& a)
      : args(a), bands(ceil_div(a.height, kBand)), boxes(a.face_count), facing(a.face_count), lists(kChunks),
        image(a.height * a.width), shares(a.height, a.width), u(a.height * shares.stride), v(a.height * shares.stride),
        normals(4 * a.vertex_count),
        blended(4 * a.coarse_side * a.coarse_side), refined(a.side, a.coarse_side),
        tiles(ceil_div(a.coarse_side, kTile)), reach(a.side), needed(a.vertex_count), touched(tiles * tiles),
        marked(2 * a.height * a.width), blends(bands) {
    for (i64 n = 0; n < a.side; ++n)
      reach[n] = {refined.first[n] / int32_t(kTile), (refined.first[n] + int32_t(refined.taps) - 1) / int32_t(kTile)};
  }

  i64 chunk(i64 n) const { return n * args.face_count / kChunks; }
  const float* corner(i64 face, int k) const { return args.vertices + 3 * i64(args.faces[3 * face + k]); }

  // Boxes, facing and lists of a chunk of faces.
  void sort(i64 n) {
    Lists& list = lists[n];
    list.starts.assign(2 * bands + 2, 0);
    list.depth = 0;
    i64* count = list.starts.data() + 2;
    for (i64 first = chunk(n); first < chunk(n + 1); first += ha::kBlock) {
      const i64 some = std::min(ha::kBlock, chunk(n + 1) - first);
      const ha::Outlines seen(args.vertices, args.faces + 3 * first, some, float(args.width), float(args.height));
      for (i64 k = 0; k < some; ++k) {
        const i64 f = first + k;
        // A face that lies beyond the near plane and whose coordinates are numbers needs no cutting.
        const Box box = boxes[f] = seen.finite[k] && seen.nearest[k] > args.near
                                       ? Box{seen.x0[k], seen.x1[k], seen.y0[k], seen.y1[k]}
                                       : ha::bounds(args.vertices, args.faces + 3 * f, int(args.height),
                                                    int(args.width), args.near, args.cull != 0);
        facing[f] = int8_t(seen.facing[k]);
        if (std::isfinite(seen.nearest[k])) list.depth += seen.nearest[k];
        if (box.x0 > box.x1 || box.y0 > box.y1) continue;
        for (int band = box.y0 / kBand; band <= box.y1 / kBand; ++band) ++count[2 * band + (facing[f] > 0)];
      }
    }
    for (i64 key = 0; key < 2 * bands; ++key) count[key] += count[key - 1];
    list.faces.resize(count[2 * bands - 1]);
    i64* next = list.starts.data() + 1;
    for (i64 f = chunk(n); f < chunk(n + 1); ++f) {
      const Box& box = boxes[f];
      if (box.x0 > box.x1 || box.y0 > box.y1) continue;
      for (int k = box.y0 / kBand; k <= box.y1 / kBand; ++k) list.faces[next[2 * k + (facing[f] > 0)]++] = int32_t(f);
    }
  }

  // Of all edges those in which a surface may end, and the pairs of pixels between whose centers they pass: the only
  // ones that `look` need be asked about.
  void mark(i64 n) {
    for (i64 f = chunk(n); f < chunk(n + 1); ++f)
      for (int k = 0; k < 3; ++k) {
        const i64 edge = 3 * f + k, twin = args.twins[edge];
        if (twin >= 0) {
          const int turned = facing[f] * facing[twin / 3];
          if (turned > 0 && args.oriented) continue;  // most are
          if (twin < edge) continue;                  // the twin's turn
          if (turned > 0 && along(edge, twin)) continue;
          if (turned < 0 && !args.oriented && !along(edge, twin)) continue;
        } else if (twin != ha::kBoundary) continue;  // an edge of many faces
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

  // Chunks from near to far: what lies behind is then passed over.
  std::vector<const Lists*> ordered() const {
    std::vector<const Lists*> order;
    for (const Lists& list : lists) order.push_back(&list);
    std::stable_sort(order.begin(), order.end(), [](const Lists* a, const Lists* b) { return a->depth < b->depth; });
    return order;
  }

  void draw(i64 band, const std::vector<const Lists*>& order, Band& to) {
    const i64 width = args.width, row0 = band * kBand, row1 = std::min(row0 + kBand, args.height);
    to.clear();
    for (int turned = 0; turned < 2; ++turned)
      for (const Lists* list : order)
        for (i64 n = list->starts[2 * band + turned]; n < list->starts[2 * band + turned + 1]; ++n) {
          const int32_t f = list->faces[n], soon = list->faces[std::min(n + kAhead, i64(list->faces.size()) - 1)];
          __builtin_prefetch(args.faces + 3 * i64(soon));
          const vf4 a = ha::three(corner(f, 0)), b = ha::three(corner(f, 1)), c = ha::three(corner(f, 2));
          ha::Edges edges;
          if (to.hides(boxes[f], row0, row1, std::min(a[2], std::min(b[2], c[2])))) continue;
          if (!edges.set_up(a, b, c, args.cull != 0)) continue;
          __builtin_prefetch(args.uv_faces + 3 * i64(f));
          to.draw(edges, f, boxes[f], row0, row1, args.near);
        }
    for (i64 y = row0; y < row1; ++y) {
      const double* depth = to.depth + (y - row0) * to.stride;
      const int32_t* faces = to.image + (y - row0) * to.stride;
      std::copy(faces, faces + width, image + y * width);
      for (i64 x = 0; x < width; ++x) args.depth[y * width + x] = faces[x] < 0 ? 0.f : float(depth[x]);
      find_texels(y);
    }
  }

  // Where on the maps the pixels of a row lie, and what they will read.
  void find_texels(i64 y) {
    const int32_t* seen = image + y * args.width;
    const i64 from = y * shares.stride;
    ha::Spots spots;
    for (i64 run = 0; run < args.width; run += ha::kRun) {
      const i64 end = std::min(run + ha::kRun, args.width);
      for (i64 x = run; x < end; ++x) {
        if (seen[x] < 0) continue;
        const i64 at = from + x;
        const int32_t* corners = args.uv_faces + 3 * i64(seen[x]);
        const float *a = args.uvs + 2 * i64(corners[0]), *b = args.uvs + 2 * i64(corners[1]);
        const float *c = args.uvs + 2 * i64(corners[2]), first = shares.first[at], second = shares.second[at];
        const float third = shares.third[at];
        u[at] = first * a[0] + second * b[0] + third * c[0];
        v[at] = first * a[1] + second * b[1] + third * c[1];
      }
      spots.find(u + from + run, v + from + run, end - run, args.side);
      for (i64 x = run; x < end; ++x) {
        if (seen[x] < 0) continue;
        const Reach across = reach[spots.column[x - run]], down = reach[spots.row[x - run]];
        uint8_t *upper = touched + down.first * tiles, *lower = touched + down.last * tiles;
        store(upper + across.first), store(upper + across.last), store(lower + across.first), store(lower + across.last);
        if (args.points)
          for (int k = 0; k < 3; ++k) store(needed + args.faces[3 * i64(seen[x]) + k]);
      }
    }
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
    for (int d = 0; d < 3; ++d) normals[4 * vertex + d] = sum[d] / length;
    normals[4 * vertex + 3] = args.cover ? find_cover(vertex) : 0;
  }

  // How far a vertex is seen more face on than its cover begins.
  float find_cover(i64 vertex) const {
    const float *point = args.points + 3 * vertex, *normal = normals + 4 * vertex;
    const float along = normal[0] * point[0] + normal[1] * point[1] + normal[2] * point[2];
    const float away = std::sqrt(point[0] * point[0] + point[1] * point[1] + point[2] * point[2]);
    const float facing = std::fabs(along) / std::max(away, 1e-20f);
    return std::min(std::max(0.f, (facing - args.cover[4 * vertex + 3]) / args.covered), 1.f);
  }

  void shade(i64 y) {
    const i64 at = y * args.width, from = y * shares.stride;
    ha::shade_row(args, refined, blended,
                  {image + at, shares.first + from, shares.second + from, shares.third + from, u + from, v + from,
                   args.points ? normals + 0 : nullptr, args.rgb + 3 * at, args.alpha + at});
  }

  void find_blends(i64 band) {
    const ha::Mesh mesh{args.vertices, args.faces, args.twins};
    for (i64 y = band * kBand; y < std::min((band + 1) * kBand, args.height); ++y)
      for (i64 x = 0; x < args.width; ++x) {
        const i64 at = y * args.width + x;
        if (x % 4 == 0 && x + 4 <= args.width && ha::load<int64_t>(marked + 2 * at) == 0) {
          x += 3;
          continue;
        }
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
    Band to(picture.shares);
    const auto order = picture.ordered();
#pragma omp for schedule(dynamic, 1) nowait
    for (i64 band = 0; band < picture.bands; ++band) picture.draw(band, order, to);
#pragma omp for schedule(dynamic, 1)
    for (i64 n = 0; n < kChunks; ++n) picture.mark(n);
#pragma omp for schedule(dynamic, 16) nowait
    for (i64 tile = 0; tile < picture.tiles * picture.tiles; ++tile) picture.blend_tile(tile);
#pragma omp for schedule(dynamic, 256)
    for (i64 vertex = 0; vertex < args.vertex_count; ++vertex)
      if (picture.needed[vertex]) picture.find_normal(vertex);
#pragma omp for schedule(dynamic, 1)
    for (i64 band = 0; band < picture.bands; ++band) {
      for (i64 y = band * kBand; y < std::min((band + 1) * kBand, args.height); ++y) picture.shade(y);
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
