// How far the light of rays is spread along them, and its gradient.
#include <cmath>
#include <vector>

#include "common.h"

using ha::i64;

// Both passes go over a ray twice: sums over the samples before each one, then over those behind it.
HA_API void ha_distortion(const float* optical, const float* distances, const float* deltas, const i64* offsets,
                          i64 rays, float* spread, float* grad) {
#pragma omp parallel
  {
    std::vector<double> weight, slope, after;
#pragma omp for schedule(static, 256)
    for (i64 r = 0; r < rays; ++r) {
      const i64 start = offsets[r], count = offsets[r + 1] - start;
      weight.resize(count), slope.resize(count), after.resize(count);
      double passed = 0, light = 1, total = 0, sum = 0, moment = 0;
      for (i64 k = 0; k < count; ++k) {
        const i64 n = start + k;
        passed += double(optical[n]);
        const double w = light * -std::expm1(-double(optical[n])), apart = distances[n] * sum - moment;
        total += 2 * w * apart + w * w * deltas[n] / 3;
        slope[k] = 2 * apart + 2 * w * deltas[n] / 3;
        sum += w, moment += w * distances[n];
        weight[k] = w;
        after[k] = light = std::exp(-passed);
      }
      spread[r] = float(total);
      double behind = 0;
      sum = moment = 0;
      for (i64 k = count - 1; k >= 0; --k) {
        const i64 n = start + k;
        const double g = slope[k] + 2 * (moment - distances[n] * sum);
        grad[n] = float(g * after[k] - behind);
        behind += g * weight[k];
        sum += weight[k], moment += weight[k] * distances[n];
      }
    }
  }
}
