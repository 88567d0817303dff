// What the loader asks a library: its version, its instruction set, and which variant this processor can run.
#include "kernels.h"

#if defined(__linux__)
#include <malloc.h>
#endif

#define HA_TEXT(x) #x
#define HA_NAME(x) HA_TEXT(x)

HA_API int ha_abi() { return 20; }
HA_API const char* ha_isa() { return HA_NAME(HA_ISA); }
HA_API int64_t ha_tile() { return ha::kTile; }

HA_API const char* ha_best_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "baseline";
}

HA_API int ha_threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

// torch asks for and gives back the same large blocks at every step; by default glibc maps fresh pages for each of
// them, and touching those costs more than the arithmetic.
HA_API void ha_tune_allocator() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}
