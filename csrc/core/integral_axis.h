// One axis of precise RoI pooling (arXiv:1807.11590): the mean of the bilinear surface over the
// bin, integrated exactly. Outside the map the surface falls to zero within one pixel.
#pragma once

#include "core/axis_taps.h"

namespace roiops {

template <typename T>
struct IntegralAxis {
  T start;       // of the RoI, in feature-map pixels
  T bin;         // bin size, >= 0
  T scale;       // d (feature coordinate) / d (image coordinate)
  int32_t bins;  // bins per RoI

  C10_HOST_DEVICE T low(int32_t p) const {
    return start + T(p) * bin;
  }
};

template <typename T>
C10_HOST_DEVICE IntegralAxis<T> integral_axis(T low, T high, int32_t bins, double spatial_scale) {
  const T scale = T(spatial_scale);
  const T start = low * scale;
  const T size = high * scale - start;
  const bool finite = is_finite(start) && is_finite(size);
  return {finite ? start : T(0), finite && size > T(0) ? size / T(bins) : T(0), scale, bins};
}

// The bilinear kernel at a distance of u pixels.
template <typename T>
C10_HOST_DEVICE T tent(T u) {
  const T v = T(1) - (u < T(0) ? -u : u);
  return v > T(0) ? v : T(0);
}

// Integral of the tent over [a, b], as length times middle height of its two straight pieces: a
// difference of antiderivatives would cancel for bins far below a pixel.
template <typename T>
C10_HOST_DEVICE T tent_integral(T a, T b) {
  const T left_a = a > T(-1) ? a : T(-1), left_b = b < T(0) ? b : T(0);
  const T right_a = a > T(0) ? a : T(0), right_b = b < T(1) ? b : T(1);
  T sum = T(0);
  if (left_a < left_b) {
    sum += (left_b - left_a) * (T(1) + (left_a + left_b) / T(2));
  }
  if (right_a < right_b) {
    sum += (right_b - right_a) * (T(1) - (right_a + right_b) / T(2));
  }
  return sum;
}

// The pixels whose tent reaches into bin p: i in (a - 1, b + 1), cut with the map.
template <typename T>
C10_HOST_DEVICE SampleRange<T> integral_pixels(
    const IntegralAxis<T>& axis, int32_t p, int32_t pixels) {
  const T a = axis.low(p), b = a + axis.bin;
  if (!(b > a)) {
    return {T(0), 0};
  }
  const T below = std::floor(a), above = std::ceil(b);
  const T first = below > T(0) ? below : T(0);
  const T last = above < T(pixels - 1) ? above : T(pixels - 1);
  return {first, last >= first ? static_cast<int64_t>(last - first) + 1 : 0};
}

template <typename T>
C10_HOST_DEVICE int64_t max_axis_taps(const IntegralAxis<T>& axis, int32_t p, int32_t pixels) {
  return integral_pixels(axis, p, pixels).count;
}

template <typename T, typename TapFn>
C10_HOST_DEVICE void for_each_tap(
    const IntegralAxis<T>& axis, int32_t p, int32_t pixels, TapFn&& tap) {
  const SampleRange<T> range = integral_pixels(axis, p, pixels);
  const T a = axis.low(p), b = a + axis.bin;
  const T size = b - a;
  // d a / d (high coordinate) and d b / d (high coordinate)
  const T a_high = axis.scale * (T(p) / T(axis.bins));
  const T b_high = axis.scale * (T(p + 1) / T(axis.bins));
  for (int64_t i = 0; i < range.count; ++i) {
    const T pixel = range.first + T(i);
    const T weight = tent_integral(a - pixel, b - pixel) / size;
    const T slope_a = (weight - tent(a - pixel)) / size;
    const T slope_b = (tent(b - pixel) - weight) / size;
    if (weight > T(0)) {
      tap(AxisTap<T>{static_cast<int32_t>(pixel), weight,
          slope_a * (axis.scale - a_high) + slope_b * (axis.scale - b_high),
          slope_a * a_high + slope_b * b_high});
    }
  }
}

}  // namespace roiops
