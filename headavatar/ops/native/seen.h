// Which face each pixel of a band of rows sees, four pixels at a time: the numbers of raster.h, in vectors.
// For files compiled without contraction, so that pixels see the faces that ha_rasterize finds.
#pragma once

#include <memory>

#include "raster.h"
#include "simd.h"

namespace ha {

constexpr i64 kWide = 4;  // pixels looked at together, and numbers of a corner or of a face's edges
typedef float vf4 __attribute__((vector_size(kWide * 4)));
typedef int32_t vi4 __attribute__((vector_size(kWide * 4)));
typedef double vd4 __attribute__((vector_size(kWide * 8)));
typedef int64_t vl4 __attribute__((vector_size(kWide * 8)));
constexpr vd4 kCenters = {0.5, 1.5, 2.5, 3.5};
constexpr vl4 kLanes4 = {0, 1, 2, 3};
constexpr double kAbove = 1 + 1e-15;  // a quotient is rounded

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

inline vf4 three(const float* p) { return vf4{p[0], p[1], p[2], 0}; }

inline bool any(vl4 mask) {
#ifdef __AVX__
  return _mm256_movemask_pd((__m256d)mask) != 0;
#else
  return ((mask[0] | mask[1]) | (mask[2] | mask[3])) != 0;
#endif
}

constexpr i64 kBlock = 16;  // faces whose outlines are found together

// Which pixels' centers the outlines of some faces surround, as `first_pixel` and `last_pixel` say: what single precision
// rounds in it are places between centers. And which way their corners run: 1, -1, or 0 where rounding decides.
struct Outlines {
  int32_t x0[kBlock], x1[kBlock], y0[kBlock], y1[kBlock], facing[kBlock], finite[kBlock];
  float nearest[kBlock];

  Outlines(const float* vertices, const int32_t* faces, i64 count, float width, float height) {
    float p[3][3][kBlock] = {};
    for (i64 n = 0; n < count; ++n)
      for (int k = 0; k < 3; ++k)
        for (int d = 0; d < 3; ++d) p[k][d][n] = vertices[3 * i64(faces[3 * n + k]) + d];
    span(p[0][0], p[1][0], p[2][0], width, x0, x1);
    span(p[0][1], p[1][1], p[2][1], height, y0, y1);
#pragma omp simd
    for (i64 n = 0; n < kBlock; ++n) {
      nearest[n] = least(p[0][2][n], p[1][2][n], p[2][2][n]);
      float sum = (p[0][0][n] + p[1][0][n]) + p[2][0][n];
      sum += (p[0][1][n] + p[1][1][n]) + p[2][1][n];
      sum += (p[0][2][n] + p[1][2][n]) + p[2][2][n];
      finite[n] = sum - sum == 0;
    }
#pragma omp simd
    for (i64 n = 0; n < kBlock; ++n) {
      const double x = p[0][0][n], y = p[0][1][n];
      const double left = (p[1][0][n] - x) * (p[2][1][n] - y), right = (p[1][1][n] - y) * (p[2][0][n] - x);
      const double doubt = 1e-9 * (std::fabs(left) + std::fabs(right)), turn = left - right;
      facing[n] = int32_t((turn > doubt ? 1.0 : 0.0) - (turn < -doubt ? 1.0 : 0.0));
    }
  }

 private:
  static float least(float a, float b, float c) {
    const float ab = a < b ? a : b;
    return ab < c ? ab : c;
  }

  static void span(const float* a, const float* b, const float* c, float limit, int32_t* first, int32_t* last) {
#pragma omp simd
    for (i64 n = 0; n < kBlock; ++n) {
      float low = least(a[n], b[n], c[n]) - 0.5f, high = -least(-a[n], -b[n], -c[n]) - 0.5f;
      low = low > 0 ? low : 0, high = high > -1 ? high : -1;
      low = low < limit ? low : limit, high = high < limit - 1 ? high : limit - 1;
      const int32_t up = int32_t(low), down = int32_t(high);
      first[n] = up + (float(up) < low);
      last[n] = down - (float(down) > high);
    }
  }
};

// A face's edge functions, as raster.h's Triangle has them: one edge in each of the first three numbers.
struct Edges {
  double x[kWide], y[kWide], rest[kWide], scale[kWide];
  double least[kWide];  // of an edge function where the face covers the pixel: `covers` in one comparison
  double det;

  // False where there is nothing to draw, as of `set_up`.
  bool set_up(vf4 a, vf4 b, vf4 c, bool cull) {
    const vl4 after = {1, 2, 0, 3}, before = {2, 0, 1, 3};
    const vd4 px = __builtin_convertvector((vf4{a[0], b[0], c[0], 0}), vd4);
    const vd4 py = __builtin_convertvector((vf4{a[1], b[1], c[1], 0}), vd4);
    const vd4 pz = __builtin_convertvector((vf4{a[2], b[2], c[2], 1}), vd4);
    const vd4 x1 = __builtin_shuffle(px, after), x2 = __builtin_shuffle(px, before);
    const vd4 y1 = __builtin_shuffle(py, after), y2 = __builtin_shuffle(py, before);
    const vd4 z = __builtin_shuffle(pz, after) * __builtin_shuffle(pz, before);
    const vd4 ex = y1 - y2, ey = x2 - x1, e = x1 * y2 - x2 * y1;
    det = z[0] * pz[0] * ((e[0] + e[1]) + e[2]);
    // What is no number in any corner is none here.
    if (!std::isfinite(det) || det == 0 || (cull && det > 0)) return false;
    constexpr int64_t kSign = std::numeric_limits<int64_t>::min();
    const vd4 dets = det - vd4{};
    const vl4 turned = ((vl4)z ^ (vl4)dets) & kSign;
    const vd4 tx = (vd4)((vl4)ex ^ turned), ty = (vd4)((vl4)ey ^ turned);
    store(x, tx);
    store(y, ty);
    store(rest, (vd4)((vl4)e ^ turned));
    store(scale, (vd4)((vl4)z & ~kSign));
    // Edge functions are sums of products of floats: none but 0 is smaller than this.
    const vd4 tiny = std::numeric_limits<double>::min() - vd4{};
    store(least, (vd4)((vl4)tiny & ~((tx > 0) | ((tx == 0) & (ty > 0)))));
    det = std::fabs(det);
    return true;
  }
};

// Where pixels lie in the faces that they see: planes whose rows have space for pixels beyond their end.
struct Shares {
  const i64 stride;
  Buffer<float> first, second, third;

  Shares(i64 height, i64 width)
      : stride((width + 2 * kWide - 1) / kWide * kWide), first(height * stride), second(height * stride), third(height * stride) {}
};

// What one thread draws a band into, with rows as those of `Shares`.
struct Band {
  Shares& shares;
  const i64 stride;
  Buffer<double> depth;
  Buffer<int32_t> image;

  explicit Band(Shares& s) : shares(s), stride(s.stride), depth(kBand * stride), image(kBand * stride) {}

  void clear() {
    std::fill(depth + 0, depth + kBand * stride, std::numeric_limits<double>::infinity());
    std::fill(image + 0, image + kBand * stride, -1);
  }

  // Whether nothing of a box is farther than `nearest`.
  bool hides(const Box& box, i64 row0, i64 row1, double nearest) const {
    const double least = nearest * (1 - 1e-12);  // a depth is rounded
    if (!(least > 0)) return false;
    for (i64 y = std::max<i64>(box.y0, row0); y <= std::min<i64>(box.y1, row1 - 1); ++y)
      for (i64 x = box.x0 & ~(kWide - 1); x <= box.x1; x += kWide)
        if (any((least < load<vd4>(depth + (y - row0) * stride + x)) & within(box, x))) return false;
    return true;
  }

  void draw(const Edges& t, int32_t face, const Box& box, i64 row0, i64 row1, double near) {
    for (i64 y = std::max<i64>(box.y0, row0); y <= std::min<i64>(box.y1, row1 - 1); ++y) {
      const double py = double(y) + 0.5;
      for (i64 x = box.x0 & ~(kWide - 1); x <= box.x1; x += kWide) {
        const vd4 px = double(x) + kCenters;
        const vd4 e0 = t.x[0] * px + t.y[0] * py + t.rest[0];
        const vd4 e1 = t.x[1] * px + t.y[1] * py + t.rest[1];
        const vd4 e2 = t.x[2] * px + t.y[2] * py + t.rest[2];
        vl4 seen = (e0 >= t.least[0]) & (e1 >= t.least[1]) & (e2 >= t.least[2]) & within(box, x);
        if (!any(seen)) continue;
        const i64 at = (y - row0) * stride + x;
        const vd4 h0 = e0 * t.scale[0], h1 = e1 * t.scale[1], h2 = e2 * t.scale[2];
        const vd4 total = (h0 + h1) + h2, known = load<vd4>(depth + at);
        seen &= t.det <= known * total * kAbove;
        if (!any(seen)) continue;
        const vd4 z = t.det / total;
        const vi4 before = load<vi4>(image + at);
        // Those seen from outside come first, but of faces at equal depth the first one of the mesh wins.
        seen &= (z > near) & ((z < known) | ((z == known) & (face < __builtin_convertvector(before, vl4))));
        if (!any(seen)) continue;
        const vi4 narrow = __builtin_convertvector(seen, vi4);
        store(depth + at, (vd4)(((vl4)z & seen) | ((vl4)known & ~seen)));
        store(image + at, (vi4)((face & narrow) | (before & ~narrow)));
        const vd4 share = 1 / total;
        mix(shares.first + y * stride + x, h0 * share, narrow);
        mix(shares.second + y * stride + x, h1 * share, narrow);
        mix(shares.third + y * stride + x, h2 * share, narrow);
      }
    }
  }

 private:
  // Pixels are looked at from multiples of kWide on, so that what one face has written another one reads at once.
  static vl4 within(const Box& box, i64 x) { return (kLanes4 >= box.x0 - x) & (kLanes4 <= box.x1 - x); }

  static void mix(float* p, vd4 value, vi4 where) {
    store(p, ((vi4)__builtin_convertvector(value, vf4) & where) | (load<vi4>(p) & ~where));
  }
};

}  // namespace ha
