// Which level of a feature pyramid a box is pooled from (FPN, arXiv:1612.03144, equation 1).
#pragma once

#include <cmath>
#include <cstdint>

#include <c10/macros/Macros.h>

namespace roiops {

inline constexpr int32_t kMaxLevels = 16;

template <typename T>
struct LevelRule {
  T canonical_scale;  // size of a box, in image coordinates, that belongs to ...
  T canonical_level;  // ... this level
  T first_level;      // the level of the first map: -log2 of its spatial scale
  int32_t levels;
};

// The level of a map: 2 for a spatial scale of 1/4. Rounded for scales that are no powers of two.
C10_HOST_DEVICE inline double first_level(double spatial_scale) {
  return std::round(-std::log2(spatial_scale));
}

// Number of the map, or -1 if the box has no size (NaN, or one side negative): it gives zeros.
// torchvision's rounding: 1e-6 levels in favour of the higher one.
template <typename T>
C10_HOST_DEVICE int32_t level_of(const LevelRule<T>& rule, T x1, T y1, T x2, T y2) {
  const T size = std::sqrt((x2 - x1) * (y2 - y1));
  if (!(size >= T(0))) {
    return -1;
  }
  const T exact =
      std::floor(rule.canonical_level + std::log2(size / rule.canonical_scale) + T(1e-6));
  const T number = exact - rule.first_level;
  if (!(number > T(0))) {
    return 0;
  }
  return number < T(rule.levels) ? static_cast<int32_t>(number) : rule.levels - 1;
}

}  // namespace roiops
