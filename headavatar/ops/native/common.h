// What every kernel file shares: the exported C ABI's mark, OpenMP or its absence, pieces of work.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef _OPENMP
#include <omp.h>
#endif

#define HA_API extern "C" __attribute__((visibility("default")))

namespace ha {

using i64 = int64_t;

// Partial sums are cut by the size of the input, never by the number of threads, so that results do not depend on it.
constexpr i64 kPieces = 16;

inline i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

}  // namespace ha
