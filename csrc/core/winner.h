// The sample that won a bin's maximum, found again from the number that the operator returned.
#pragma once

#include <type_traits>

#include "core/axis_samples.h"
#include "core/separable.h"

namespace roiops {

// What a winner is named by: the position of its pixel in the plane (as torchvision's argmax), or
// the number of the sample in its bin. Negative: the bin has no sample.
template <typename Geometry>
inline constexpr bool kNamesPixels =
    std::is_same_v<Geometry, PixelGeometry<typename Geometry::Scalar>>;

template <typename T>
struct Winner {
  bool valid;
  AxisSample<T> y, x;

  // Calls tap(y, x, SeparableTap) for the pixels that the sample reads.
  template <typename TapFn>
  C10_HOST_DEVICE void for_each_tap(TapFn&& tap) const {
    for (int32_t a = 0; valid && a < y.count; ++a) {
      for (int32_t b = 0; b < x.count; ++b) {
        tap(y.tap[a].pixel, x.tap[b].pixel, SeparableTap<T>{y.tap[a], x.tap[b]});
      }
    }
  }
};

// The largest so far: the first one, or the first NaN.
template <typename T>
C10_HOST_DEVICE bool beats(T value, T best) {
  return value > best || (value != value && best == best);
}

template <typename Geometry, typename T = typename Geometry::Scalar>
C10_HOST_DEVICE Winner<T> winner_of(const SeparableRoi<typename Geometry::Axis>& roi, MapSize map,
    int32_t p, int32_t q, int32_t name) {
  const SampleRange<T> rows = samples_of(roi.y, p, map.height);
  const SampleRange<T> columns = samples_of(roi.x, q, map.width);
  if (name < 0 || rows.count == 0 || columns.count == 0) {
    return {};
  }
  // Divides 32-bit numbers, which a GPU does much faster; no name reaches beyond the limit.
  const auto count = static_cast<int32_t>(columns.count < INT32_MAX ? columns.count : INT32_MAX);
  int64_t i = name / count, j = name % count;
  if constexpr (kNamesPixels<Geometry>) {
    i = name / map.width - axis_sample(roi.y, p, map.height, T(0)).tap[0].pixel;
    j = name % map.width - axis_sample(roi.x, q, map.width, T(0)).tap[0].pixel;
  }
  if (i < 0 || i >= rows.count || j < 0 || j >= columns.count) {
    return {};
  }
  return {true, axis_sample(roi.y, p, map.height, rows.first + T(i)),
      axis_sample(roi.x, q, map.width, columns.first + T(j))};
}

}  // namespace roiops
