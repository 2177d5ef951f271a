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

// The tent of one pixel, averaged over a bin [a, b], and the slopes of that average by a and b.
template <typename T>
struct TentMean {
  T weight, by_a, by_b;
};

// From the shares of the bin on which the tent rises, falls, or is zero before and after. They are
// exact however small the bin is, where differences of tents or of antiderivatives would cancel.
template <typename T>
C10_HOST_DEVICE TentMean<T> tent_mean(T a, T b, T pixel) {
  const T size = b - a, low = pixel - T(1), high = pixel + T(1);
  const T rise_from = a > low ? a : low, rise_to = b < pixel ? b : pixel;
  const T fall_from = a > pixel ? a : pixel, fall_to = b < high ? b : high;
  const T rising = rise_from < rise_to ? rise_to - rise_from : T(0);
  const T falling = fall_from < fall_to ? fall_to - fall_from : T(0);
  const T rise = rising / size, fall = falling / size;
  const T before = a < low ? (low - a) / size : T(0), after = b > high ? (b - high) / size : T(0);
  return {rise * (rise_from - low + rising / T(2)) + fall * (high - fall_to + falling / T(2)),
      rise * rise / T(2) + fall * (rise - fall / T(2)) + after * (rise - fall),
      before * (rise - fall) + rise * (rise / T(2) - fall) - fall * fall / T(2)};
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
  // d a / d (high coordinate) and d b / d (high coordinate)
  const T a_high = axis.scale * (T(p) / T(axis.bins));
  const T b_high = axis.scale * (T(p + 1) / T(axis.bins));
  for (int64_t i = 0; i < range.count; ++i) {
    const T pixel = range.first + T(i);
    const TentMean<T> mean = tent_mean(a, b, pixel);
    if (mean.weight > T(0)) {
      tap(AxisTap<T>{static_cast<int32_t>(pixel), mean.weight,
          mean.by_a * (axis.scale - a_high) + mean.by_b * (axis.scale - b_high),
          mean.by_a * a_high + mean.by_b * b_high});
    }
  }
}

}  // namespace roiops
