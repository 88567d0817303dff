// Rows of a tile into columns and back: a tile keeps one feature of its points after another.
#pragma once

#include "simd.h"

namespace ha {

#if HA_WIDTH >= 8
// An 8 x 8 block, rows to columns; changes a.
inline void transpose8(__m256* a, __m256* out) {
  __m256 b[8];
  for (int k = 0; k < 8; k += 2) {
    b[k] = _mm256_unpacklo_ps(a[k], a[k + 1]);
    b[k + 1] = _mm256_unpackhi_ps(a[k], a[k + 1]);
  }
  for (int k = 0; k < 8; k += 4) {
    a[k] = _mm256_shuffle_ps(b[k], b[k + 2], 0x44);
    a[k + 1] = _mm256_shuffle_ps(b[k], b[k + 2], 0xEE);
    a[k + 2] = _mm256_shuffle_ps(b[k + 1], b[k + 3], 0x44);
    a[k + 3] = _mm256_shuffle_ps(b[k + 1], b[k + 3], 0xEE);
  }
  for (int k = 0; k < 4; ++k) {
    out[k] = _mm256_permute2f128_ps(a[k], a[k + 4], 0x20);
    out[k + 4] = _mm256_permute2f128_ps(a[k], a[k + 4], 0x31);
  }
}
#endif

// Rows of a tile into columns: out[n][r], stride floats a point; rows past the last are 0.
inline void transpose(const float* in, i64 rows, float* out, i64 stride) {
  i64 r = 0;
#if HA_WIDTH >= 8
  for (; r + 8 <= rows; r += 8)
    for (i64 n = 0; n < kTile; n += 8) {
      __m256 a[8], b[8];
      for (int k = 0; k < 8; ++k) a[k] = _mm256_loadu_ps(in + (r + k) * kTile + n);
      transpose8(a, b);
      for (int k = 0; k < 8; ++k) _mm256_storeu_ps(out + (n + k) * stride + r, b[k]);
    }
#endif
  for (i64 n = 0; n < kTile; ++n)
    for (i64 k = r; k < stride; ++k) out[n * stride + k] = k < rows ? in[k * kTile + n] : 0.f;
}

// Vectors of points into rows of a tile: out[r][n] = from(n)[r], a multiple of 8 rows.
template <class Source>
inline void collect_rows(Source from, i64 rows, float* out) {
#if HA_WIDTH >= 8
  for (i64 n = 0; n < kTile; n += 8) {
    const float* source[8];
    for (int k = 0; k < 8; ++k) source[k] = from(n + k);
    for (i64 r = 0; r < rows; r += 8) {
      __m256 a[8], b[8];
      for (int k = 0; k < 8; ++k) a[k] = _mm256_loadu_ps(source[k] + r);
      transpose8(a, b);
      for (int k = 0; k < 8; ++k) _mm256_storeu_ps(out + (r + k) * kTile + n, b[k]);
    }
  }
#else
  for (i64 n = 0; n < kTile; ++n) {
    const float* source = from(n);
    for (i64 r = 0; r < rows; ++r) out[r * kTile + n] = source[r];
  }
#endif
}

}  // namespace ha
