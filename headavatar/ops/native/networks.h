// The two networks of a picture's field, in floats or in 16-bit numbers.
#pragma once

#include <algorithm>
#include <optional>

#include "fixed.h"

namespace ha {

class Networks {
 public:
  // `view` is how many of the color network's inputs come from a ray's view.
  Networks(const GridArgs& grid, const NetArgs& sigma, const NetArgs& color, i64 view, bool fixed)
      : sigma_(sigma, false), color_(color, false, 0, view) {
#if HA_WIDTH == 8
    if (fixed) fixed_.emplace(grid, sigma, color, view);
#else
    (void)grid, (void)fixed;
#endif
  }

  // Rows of what a ray's view gives to the color network's first layer.
  i64 view_rows() const { return padded(fixed() ? ceil_div(color_.args->sizes[1], 2) : color_.args->sizes[1]); }

  i64 scratch_rows() const {
#if HA_WIDTH == 8
    if (fixed_) return 2 * fixed_->rows;
#endif
    return sigma_.row_count + color_.row_count;
  }

  // Makes sums that a tile's views give what `run` takes, in place.
  void shorten(float* sums) const {
#if HA_WIDTH == 8
    if (!fixed_) return;
    to_pairs(sums, fixed_->view_factors.data(), color_.args->sizes[1], reinterpret_cast<int32_t*>(sums));
#else
    (void)sums;
#endif
  }

  // Densities (kTile,) and colors (3, kTile) of a tile's encoded points before their activations.
  void run(const float* encoded, const float* views, float* scratch, float* raw, float* rgb) const {
#if HA_WIDTH == 8
    if (fixed_)
      return fixed_->run(encoded, reinterpret_cast<const int32_t*>(views), reinterpret_cast<int32_t*>(scratch), raw,
                         rgb);
#endif
    float* color_rows = scratch + sigma_.row_count * kTile;
    sigma_.run(encoded, scratch);
    std::copy_n(sigma_.output(scratch), kTile, raw);
    color_.run_from(sigma_.output(scratch) + kTile, color_rows, From{views});
    std::copy_n(color_.output(color_rows), 3 * kTile, rgb);
  }

 private:
  bool fixed() const {
#if HA_WIDTH == 8
    return fixed_.has_value();
#else
    return false;
#endif
  }

  Net sigma_, color_;
#if HA_WIDTH == 8
  std::optional<FixedField> fixed_;
#endif
};

}  // namespace ha
