// The samples of a bin on one axis, one by one: for operators that take the maximum of their
// samples, where merging is not allowed. A bin's samples are numbered along the axis.
#pragma once

#include "core/axis_taps.h"
#include "core/pixel_bins.h"

namespace roiops {

// A sample's taps on one axis; a sample of the map has the product of two such lists.
template <typename T>
struct AxisSample {
  AxisTap<T> tap[2];
  int32_t count;
};

// The samples of bin p that lie on the map: an interval, because positions rise or fall throughout.
template <typename T>
C10_HOST_DEVICE SampleRange<T> samples_of(const SampleAxis<T>& axis, int32_t p, int32_t pixels) {
  SampleRange<T> range = accepted_samples(axis, p, pixels);
  const auto rejected = [&](T sample) {
    return bilinear_taps(axis.position(p, sample), pixels).count == 0;
  };
  while (range.count > 0 && rejected(range.first)) {
    range.first += T(1);
    --range.count;
  }
  while (range.count > 0 && rejected(range.first + T(range.count - 1))) {
    --range.count;
  }
  return range;
}

template <typename T>
C10_HOST_DEVICE AxisSample<T> axis_sample(
    const SampleAxis<T>& axis, int32_t p, int32_t pixels, T number) {
  const BilinearTaps<T> at = bilinear_taps(axis.position(p, number), pixels);
  const T high = axis.slope_high(p, number);
  AxisSample<T> sample{{}, at.count};
  for (int32_t j = 0; j < at.count; ++j) {
    const T slope = j == 0 ? -at.slope : at.slope;
    sample.tap[j] = {at.pixel + j, at.weight[j], slope * (axis.scale - high), slope * high};
  }
  return sample;
}

// Every pixel is a sample.
template <typename T>
C10_HOST_DEVICE SampleRange<T> samples_of(const PixelAxis<T>& axis, int32_t p, int32_t pixels) {
  return {T(0), pixels_of(axis, p, pixels).count};
}

template <typename T>
C10_HOST_DEVICE AxisSample<T> axis_sample(
    const PixelAxis<T>& axis, int32_t p, int32_t pixels, T number) {
  const int32_t pixel = pixels_of(axis, p, pixels).first + static_cast<int32_t>(number);
  return {{{pixel, T(1), T(0), T(0)}, {}}, 1};
}

}  // namespace roiops
