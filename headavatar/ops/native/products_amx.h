// The products of products.h on AMX, which multiplies tiles of 16 rows of 32 bfloat16 and sums in float32.
//
// A number is split in two: its rounding to bfloat16, and what that leaves, rounded too. Of a product's four parts all
// but the smallest are summed, which is off by 2^-16 at most, so that results agree with the other variants'.
#pragma once

#include <type_traits>

namespace ha {

constexpr i64 kRowBlock = 16;  // rows that results are padded to
constexpr i64 kDepth = 32;     // what one instruction sums over
constexpr i64 kPanel = 512;    // numbers in a tile of the processor's
static_assert(kTile % kDepth == 0, "a tile is a whole number of steps");

inline i64 padded(i64 rows) { return ceil_div(rows, kRowBlock) * kRowBlock; }

// Lays out the processor's tiles while it lives; every thread that multiplies needs its own.
struct MatrixUnit {
  MatrixUnit() {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } layout;
    asm volatile("" ::: "memory");
    _tile_loadconfig(&layout);
  }
  ~MatrixUnit() { _tile_release(); }
  MatrixUnit(const MatrixUnit&) = delete;
};

// What threads split operands into; kept between calls.
inline uint16_t* scratch(i64 size) {
  thread_local std::vector<uint16_t> memory;
  if (i64(memory.size()) < size + 32) memory.resize(size + 32);
  return reinterpret_cast<uint16_t*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
}

// Numbers as bfloat16, those of `a` in the lower half.
inline __m512i rounded(__m512 a, __m512 b) { return (__m512i)_mm512_cvtne2ps_pbh(b, a); }

inline __m512 lower_half(__m512i numbers) {
  return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(numbers)), 16);
}
inline __m512 upper_half(__m512i numbers) {
  return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(numbers, 1)), 16);
}

// 32 numbers in order, split.
inline void split(__m512 a, __m512 b, __m512i& high, __m512i& low) {
  high = rounded(a, b);
  low = rounded(a - lower_half(high), b - upper_half(high));
}

// Two rows split, a number of one beside that of the other, as the second operand of a product has them.
inline void split_pairs(__m512 a, __m512 b, uint16_t* high, uint16_t* low) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i order = _mm512_load_si512(kOrder);
  const __m512i pairs = _mm512_permutexvar_epi16(order, rounded(a, b));
  const __m512 rest_a = a - (__m512)_mm512_slli_epi32(pairs, 16);
  const __m512 rest_b = b - (__m512)_mm512_and_si512(pairs, _mm512_set1_epi32(int(0xffff0000)));
  _mm512_store_si512(high, pairs);
  _mm512_store_si512(low, _mm512_permutexvar_epi16(order, rounded(rest_a, rest_b)));
}

// A 16 x 16 block of 32-bit numbers, rows to columns; changes a.
inline void transpose16(__m512i* a) {
  __m512i b[16];
  for (int k = 0; k < 16; k += 2) {
    b[k] = _mm512_unpacklo_epi32(a[k], a[k + 1]);
    b[k + 1] = _mm512_unpackhi_epi32(a[k], a[k + 1]);
  }
  for (int k = 0; k < 16; k += 4) {
    a[k] = _mm512_unpacklo_epi64(b[k], b[k + 2]);
    a[k + 1] = _mm512_unpackhi_epi64(b[k], b[k + 2]);
    a[k + 2] = _mm512_unpacklo_epi64(b[k + 1], b[k + 3]);
    a[k + 3] = _mm512_unpackhi_epi64(b[k + 1], b[k + 3]);
  }
  for (int k = 0; k < 4; ++k) {
    b[k] = _mm512_shuffle_i32x4(a[k], a[k + 4], 0x88);
    b[k + 4] = _mm512_shuffle_i32x4(a[k], a[k + 4], 0xDD);
    b[k + 8] = _mm512_shuffle_i32x4(a[k + 8], a[k + 12], 0x88);
    b[k + 12] = _mm512_shuffle_i32x4(a[k + 8], a[k + 12], 0xDD);
  }
  for (int k = 0; k < 4; ++k) {
    a[k] = _mm512_shuffle_i32x4(b[k], b[k + 8], 0x88);
    a[k + 4] = _mm512_shuffle_i32x4(b[k + 4], b[k + 12], 0x88);
    a[k + 8] = _mm512_shuffle_i32x4(b[k], b[k + 8], 0xDD);
    a[k + 12] = _mm512_shuffle_i32x4(b[k + 4], b[k + 12], 0xDD);
  }
}

// Where an operand's panels lie: those of a step are its high parts, then its low ones.
struct Operand {
  const uint16_t* first;
  const uint16_t* second;  // of the next 16 rows or columns, or null
  i64 step;
};

// Adds the product of up to 32 rows with up to 32 columns, summed over `depth` steps, to tiles 0 to 3.
template <int M, int N>
inline void accumulate(const Operand& a, const Operand& b, i64 depth) {
  for (i64 k = 0; k < depth; ++k) {
    const uint16_t *a0 = a.first + k * a.step, *b0 = b.first + k * b.step;
    const uint16_t *a1 = a.second + k * a.step, *b1 = b.second + k * b.step;
    const auto products = [] {
      _tile_dpbf16ps(0, 4, 6);
      if (N > 1) _tile_dpbf16ps(1, 4, 7);
      if (M > 1) _tile_dpbf16ps(2, 5, 6);
      if (M > 1 && N > 1) _tile_dpbf16ps(3, 5, 7);
    };
    _tile_loadd(4, a0, 64);
    if (M > 1) _tile_loadd(5, a1, 64);
    _tile_loadd(6, b0 + kPanel, 64);
    if (N > 1) _tile_loadd(7, b1 + kPanel, 64);
    products();
    _tile_loadd(6, b0, 64);
    if (N > 1) _tile_loadd(7, b1, 64);
    products();
    _tile_loadd(4, a0 + kPanel, 64);
    if (M > 1) _tile_loadd(5, a1 + kPanel, 64);
    products();
  }
}

// Tiles 0 to 3 from a matrix in memory, or to it; stride counts floats.
template <int M, int N>
inline void load_sums(const float* from, i64 stride) {
  _tile_loadd(0, from, stride * 4);
  if (N > 1) _tile_loadd(1, from + 16, stride * 4);
  if (M > 1) _tile_loadd(2, from + 16 * stride, stride * 4);
  if (M > 1 && N > 1) _tile_loadd(3, from + 16 * stride + 16, stride * 4);
}
template <int M, int N>
inline void store_sums(float* to, i64 stride) {
  _tile_stored(0, to, stride * 4);
  if (N > 1) _tile_stored(1, to + 16, stride * 4);
  if (M > 1) _tile_stored(2, to + 16 * stride, stride * 4);
  if (M > 1 && N > 1) _tile_stored(3, to + 16 * stride + 16, stride * 4);
}

// The compiler does not know that the instructions on tiles read and write memory.
inline void settle() { asm volatile("" ::: "memory"); }

// A matrix, rearranged: panels of 16 outputs and 32 inputs, the panels of an output one after another. Rest is 0.
struct Matrix {
  std::vector<uint16_t> memory;
  const uint16_t* panels = nullptr;

  Matrix() = default;
  Matrix(Matrix&&) = default;  // a vector's memory stays where it is
  Matrix(const Matrix&) = delete;
};

inline void pack(const float* weight, i64 outputs, i64 inputs, i64 row_stride, i64 column_stride, Matrix& packed) {
  const i64 depth = ceil_div(inputs, kDepth), blocks = ceil_div(outputs, 16);
  packed.memory.assign(blocks * depth * 2 * kPanel + 32, 0);
  auto* panels = reinterpret_cast<uint16_t*>((reinterpret_cast<uintptr_t>(packed.memory.data()) + 63) / 64 * 64);
  packed.panels = panels;
  alignas(64) float row[kDepth];
  for (i64 o = 0; o < outputs; ++o)
    for (i64 k = 0; k < depth; ++k) {
      for (i64 i = 0; i < kDepth; ++i)
        row[i] = k * kDepth + i < inputs ? weight[o * row_stride + (k * kDepth + i) * column_stride] : 0.f;
      __m512i high, low;
      split(_mm512_load_ps(row), _mm512_load_ps(row + 16), high, low);
      uint16_t* at = panels + ((o / 16 * depth + k) * 2) * kPanel + o % 16 * kDepth;
      _mm512_store_si512(at, high);
      _mm512_store_si512(at + kPanel, low);
    }
}

// 32 points' inputs as panels: of 16 points, step after step.
inline void split_inputs(const float* in, i64 inputs, i64 depth, uint16_t* panels) {
  for (i64 k = 0; k < depth; ++k)
    for (i64 i = 0; i < kDepth; i += 2)
      for (i64 half = 0; half < 2; ++half) {
        const i64 at = k * kDepth + i;
        const float* row = in + at * kTile + half * 16;
        const __m512 a = at < inputs ? _mm512_loadu_ps(row) : _mm512_setzero_ps();
        const __m512 b = at + 1 < inputs ? _mm512_loadu_ps(row + kTile) : _mm512_setzero_ps();
        uint16_t* panel = panels + (half * depth + k) * 2 * kPanel + i * 16;
        split_pairs(a, b, panel, panel + kPanel);
      }
}

template <int M, class Finish, class Start>
inline void multiply_rows(const Matrix& packed, const uint16_t* panels, float* out, i64 o, i64 n, i64 depth,
                          const Finish& finish, const Start& start) {
  const i64 at = o * kTile + n, step = 2 * kPanel;
  if constexpr (std::is_same_v<Start, Zero>) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    load_sums<M, 2>(start.rows + at, kTile);
  }
  const uint16_t* weights = packed.panels + o / 16 * depth * step;
  accumulate<M, 2>({weights, weights + depth * step, step}, {panels, panels + depth * step, step}, depth);
  store_sums<M, 2>(out + at, kTile);
  settle();
  if constexpr (!std::is_same_v<Finish, Keep>)
    for (i64 r = 0; r < 16 * M; ++r)
      for (i64 v = 0; v < 2 * 16; v += W) {
        float* value = out + at + r * kTile + v;
        store(value, finish(loadf(value), at + r * kTile + v));
      }
}

// out[o][n] = finish(start + sum_i weight[o][i] in[i][n]) for one tile; writes padded(outputs) rows.
template <class Finish, class Start = Zero>
inline void multiply(const Matrix& packed, const float* in, float* out, i64 outputs, i64 inputs, Finish finish,
                     Start start = {}) {
  const i64 depth = ceil_div(inputs, kDepth), size = depth * 4 * kPanel;
  uint16_t* panels = scratch(kTile / 32 * size);
  for (i64 n = 0; n < kTile; n += 32) split_inputs(in + n, inputs, depth, panels + n / 32 * size);
  settle();
  for (i64 o = 0; o < outputs; o += 32)
    for (i64 n = 0; n < kTile; n += 32) {
      const uint16_t* from = panels + n / 32 * size;
      if (o + 16 < outputs)
        multiply_rows<2>(packed, from, out, o, n, depth, finish, start);
      else
        multiply_rows<1>(packed, from, out, o, n, depth, finish, start);
    }
}

// out[o][i] += sum_n grad[o][n] in[i][n] over one tile; out has padded(outputs) rows of stride_of(inputs).
inline void add_outer(const float* grad, i64 outputs, const float* in, i64 inputs, float*, float* out) {
  constexpr i64 depth = kTile / kDepth, step = 2 * kPanel;
  const i64 stride = stride_of(inputs), rows = padded(outputs);
  uint16_t* left = scratch((rows + stride) / 16 * depth * step);
  uint16_t* right = left + rows / 16 * depth * step;
  for (i64 o = 0; o < rows; ++o)
    for (i64 k = 0; k < depth; ++k) {
      const float* row = grad + o * kTile + k * kDepth;
      __m512i high, low;
      split(_mm512_loadu_ps(row), _mm512_loadu_ps(row + 16), high, low);
      uint16_t* at = left + (o / 16 * depth + k) * step + o % 16 * kDepth;
      _mm512_store_si512(at, high);
      _mm512_store_si512(at + kPanel, low);
    }
  for (i64 first = 0; first < stride; first += 16)
    for (i64 k = 0; k < depth; ++k) {
      __m512i high[16], low[16];
      for (i64 i = 0; i < 16; ++i) {
        const float* row = in + (first + i) * kTile + k * kDepth;
        const bool there = first + i < inputs;
        split(there ? _mm512_loadu_ps(row) : _mm512_setzero_ps(), there ? _mm512_loadu_ps(row + 16) : _mm512_setzero_ps(),
              high[i], low[i]);
      }
      transpose16(high);
      transpose16(low);
      uint16_t* panel = right + (first / 16 * depth + k) * step;
      for (i64 pair = 0; pair < 16; ++pair) {
        _mm512_store_si512(panel + pair * 32, high[pair]);
        _mm512_store_si512(panel + kPanel + pair * 32, low[pair]);
      }
    }
  settle();
  const auto block = [&](auto m, auto n, i64 o, i64 i) {
    constexpr int M = decltype(m)::value, N = decltype(n)::value;
    const uint16_t *a = left + o / 16 * depth * step, *b = right + i / 16 * depth * step;
    load_sums<M, N>(out + o * stride + i, stride);
    accumulate<M, N>({a, a + depth * step, step}, {b, b + depth * step, step}, depth);
    store_sums<M, N>(out + o * stride + i, stride);
  };
  const std::integral_constant<int, 1> one;
  const std::integral_constant<int, 2> two;
  for (i64 o = 0; o < rows; o += 32)
    for (i64 i = 0; i < stride; i += 32) {
      const bool tall = o + 16 < rows, wide = i + 16 < stride;
      if (tall && wide) block(two, two, o, i);
      else if (tall) block(two, one, o, i);
      else if (wide) block(one, two, o, i);
      else block(one, one, o, i);
    }
  settle();
}

}  // namespace ha
