// Blending K tables into one per frame, and the optimiser step on them: both are bound by memory.
#include <algorithm>
#include <cmath>
#include <vector>

#include "simd.h"

namespace ha {

namespace {

constexpr i64 kBlock = 1024;  // parameters whose tables and gradients stay in the first cache while they are needed

// Second moments of entries that are no longer hit decay into denormal numbers, which are a hundred times slower.
class FlushDenormals {
 public:
#ifdef __x86_64__
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#else
  FlushDenormals() {}
  ~FlushDenormals() {}
#endif
};

float to_float(float x) { return x; }
float to_float(uint16_t x) {
  const uint32_t bits = uint32_t(x) << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}

void from_float(float x, float& y) { y = x; }
void from_float(float x, uint16_t& y) {  // to the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  y = uint16_t((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

template <class T>
void blend(const BlendArgs& a) {
  const T* tables = static_cast<const T*>(a.tables);
#pragma omp parallel for schedule(static)
  for (i64 block = 0; block < ceil_div(a.size, kBlock); ++block) {
    const i64 start = block * kBlock, count = std::min(kBlock, a.size - start);
    for (i64 b = 0; b < a.frames; ++b) std::fill_n(a.blended + b * a.size + start, count, 0.f);
    for (i64 k = 0; k < a.count; ++k) {
      const T* __restrict table = tables + k * a.size + start;
      for (i64 b = 0; b < a.frames; ++b) {
        const float weight = a.weights[b * a.count + k];
        float* __restrict out = a.blended + b * a.size + start;
        if (weight != 0.f)
          for (i64 n = 0; n < count; ++n) out[n] += weight * to_float(table[n]);
      }
    }
  }
}

template <class M>
void adam_block(const AdamArgs& a, i64 k, i64 start, i64 count) {
  float gradient[kBlock];
  const i64 at = k * a.size + start;
  float* __restrict p = a.tables + at;
  M* __restrict m = static_cast<M*>(a.first) + at;
  M* __restrict v = static_cast<M*>(a.second) + at;
  for (i64 n = 0; n < count; ++n) gradient[n] = 0;
  for (i64 j = 0; j < a.terms; ++j) {
    const float c = a.coefficients[j * a.count + k];
    const float* __restrict g = a.gradients[j] + start;
    if (c != 0.f)
      for (i64 n = 0; n < count; ++n) gradient[n] += c * g[n];
  }
  if (a.l1[k] != 0.f)
    for (i64 n = 0; n < count; ++n) gradient[n] += p[n] > 0.f ? a.l1[k] : (p[n] < 0.f ? -a.l1[k] : 0.f);
  const float keep1 = a.beta1, take1 = 1.f - a.beta1, keep2 = a.beta2, take2 = 1.f - a.beta2;
  for (i64 n = 0; n < count; ++n) {
    const float first = keep1 * to_float(m[n]) + take1 * gradient[n];
    const float second = keep2 * to_float(v[n]) + take2 * gradient[n] * gradient[n];
    from_float(first, m[n]);
    from_float(second, v[n]);
    p[n] -= a.rate * first / (std::sqrt(second) * a.correction + a.eps);
  }
}

}  // namespace

HA_API void ha_adam(const AdamArgs* args) {
  const AdamArgs& a = *args;
#pragma omp parallel
  {
    const FlushDenormals flush;
#pragma omp for schedule(static)
    for (i64 block = 0; block < ceil_div(a.size, kBlock); ++block) {
      const i64 start = block * kBlock, count = std::min(kBlock, a.size - start);
      for (i64 k = 0; k < a.count; ++k) {
        if (a.bfloat16)
          adam_block<uint16_t>(a, k, start, count);
        else
          adam_block<float>(a, k, start, count);
      }
    }
  }
}

HA_API void ha_blend_forward(const BlendArgs* args) {
  if (args->bfloat16)
    blend<uint16_t>(*args);
  else
    blend<float>(*args);
}

HA_API void ha_blend_backward(const BlendArgs* args) {
  const BlendArgs& a = *args;
  if (a.grad_weights) {
    std::vector<double> pieces(kPieces * a.frames * a.count);
#pragma omp parallel for schedule(static)
    for (i64 piece = 0; piece < kPieces; ++piece)
      for (i64 block = piece * a.size / kPieces; block < (piece + 1) * a.size / kPieces; block += kBlock) {
        const i64 count = std::min(kBlock, (piece + 1) * a.size / kPieces - block);
        for (i64 b = 0; b < a.frames; ++b)
          for (i64 k = 0; k < a.count; ++k) {
            const float* grad = a.blended + b * a.size + block;
            const float* table = static_cast<const float*>(a.tables) + k * a.size + block;
            vf sums = {};
            i64 n = 0;
            for (; n + W <= count; n += W) sums += loadf(grad + n) * loadf(table + n);
            double sum = 0;
            for (int lane = 0; lane < W; ++lane) sum += sums[lane];
            for (; n < count; ++n) sum += grad[n] * table[n];
            pieces[(piece * a.frames + b) * a.count + k] += sum;
          }
      }
    for (i64 at = 0; at < a.frames * a.count; ++at) {
      double sum = 0;
      for (i64 piece = 0; piece < kPieces; ++piece) sum += pieces[piece * a.frames * a.count + at];
      a.grad_weights[at] = float(sum);
    }
  }
  if (!a.grad_tables) return;
#pragma omp parallel for schedule(static)
  for (i64 block = 0; block < ceil_div(a.size, kBlock); ++block) {
    const i64 start = block * kBlock, count = std::min(kBlock, a.size - start);
    for (i64 k = 0; k < a.count; ++k) {
      float* __restrict out = a.grad_tables + k * a.size + start;
      for (i64 n = 0; n < count; ++n) out[n] = 0;
      for (i64 b = 0; b < a.frames; ++b) {
        const float weight = a.weights[b * a.count + k];
        const float* __restrict grad = a.blended + b * a.size + start;
        for (i64 n = 0; n < count; ++n) out[n] += weight * grad[n];
      }
    }
  }
}

}  // namespace ha
