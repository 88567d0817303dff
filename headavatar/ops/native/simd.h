// Vectors of HA_WIDTH floats through the compiler's vector extension, and the functions that it lacks.
#pragma once

#include <cstring>

#include "kernels.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace ha {

constexpr int W = HA_WIDTH;
typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef uint32_t vu __attribute__((vector_size(W * 4)));
typedef float v4 __attribute__((vector_size(16)));

inline vf splat(float x) { return x - vf{}; }

template <class V, class T>
inline V load(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class V, class T>
inline void store(T* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

inline vf loadf(const float* p) { return load<vf>(p); }

inline vf select(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
inline vf vmax(vf a, vf b) { return select(a > b, a, b); }
inline vf vmin(vf a, vf b) { return select(a < b, a, b); }

// exp, to two units in the last place; clamped to where the result is a normal number. Source: Cephes, expf.
inline vf vexp(vf x) {
  x = vmin(vmax(x, splat(-87.0f)), splat(88.0f));
  const vf scaled = x * 1.44269504088896341f;
  const vi n = __builtin_convertvector(scaled + select(x < 0.0f, splat(-0.5f), splat(0.5f)), vi);
  const vf k = __builtin_convertvector(n, vf);
  const vf r = x - k * 0.693359375f + k * 2.12194440e-4f;
  vf p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * (vf)((n + 127) << 23);
}

// log(1 + u) for u in [0, 1]. Source: Cephes, logf, after splitting at sqrt(2).
inline vf vlog1p(vf u) {
  const vf y = 1.0f + u;
  const vi large = y > 1.41421356f;
  const vf x = select(large, (u - 1.0f) * 0.5f, u);
  vf p = splat(7.0376836292e-2f);
  p = p * x - 1.1514610310e-1f;
  p = p * x + 1.1676998740e-1f;
  p = p * x - 1.2420140846e-1f;
  p = p * x + 1.4249322787e-1f;
  p = p * x - 1.6668057665e-1f;
  p = p * x + 2.0000714765e-1f;
  p = p * x - 2.4999993993e-1f;
  p = p * x + 3.3333331174e-1f;
  const vf z = x * x;
  return select(large, splat(0.693147181f), vf{}) + (x + (p * x * z - 0.5f * z));
}

inline vf vsigmoid(vf x) {
  const vf e = vexp(select(x < 0.0f, x, -x));  // of minus the absolute value, which cannot overflow
  return select(x < 0.0f, e, splat(1.0f)) / (1.0f + e);
}

inline vf vsoftplus(vf x) { return vmax(x, vf{}) + vlog1p(vexp(select(x < 0.0f, x, -x))); }

}  // namespace ha
