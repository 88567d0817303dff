// What the loader asks a library: its version, its instruction set, and which variant this processor can run.
#include "products.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__linux__)
#include <malloc.h>
#endif

#define HA_TEXT(x) #x
#define HA_NAME(x) HA_TEXT(x)

HA_API int ha_abi() { return 21; }
HA_API const char* ha_isa() { return HA_NAME(HA_ISA); }
HA_API int64_t ha_tile() { return ha::kTile; }
HA_API int64_t ha_row_block() { return ha::kRowBlock; }

namespace {

// Whether the processor has tiles of bfloat16 and the system lets this process use them, which it has to be asked.
bool has_amx() {
#if defined(__x86_64__) && defined(__linux__)
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return false;  // AMX: BF16, TILE
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return false;                     // AVX512_BF16
  constexpr long kAskPermission = 0x1023, kTileData = 18;                                         // arch_prctl
  return syscall(SYS_arch_prctl, kAskPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

HA_API const char* ha_best_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return has_amx() ? "amx" : "avx512";
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
