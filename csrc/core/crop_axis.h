// One axis of TensorFlow's crop_and_resize: one sample per bin, at coordinates normalised by the
// map's last pixel, without clamping at the border.
#pragma once

#include "core/axis_taps.h"

namespace roiops {

template <typename T>
struct CropAxis {
  T low, high;   // of the box, in units of the map's last pixel
  T last;        // the map's last pixel
  int32_t bins;  // size of the crop
  bool nearest;

  C10_HOST_DEVICE T position(int32_t i) const {
    return bins > 1 ? low * last + T(i) * ((high - low) * last / T(bins - 1))
                    : T(0.5) * (low + high) * last;
  }
  // How far the sample follows the high coordinate; the rest follows the low one.
  C10_HOST_DEVICE T fraction(int32_t i) const {
    return bins > 1 ? T(i) / T(bins - 1) : T(0.5);
  }
};

template <typename T>
C10_HOST_DEVICE int64_t max_axis_taps(const CropAxis<T>&, int32_t, int32_t) {
  return 2;
}

// Outside [0, last] or NaN: no tap, and the bin is extrapolated. Between two pixels the value moves
// with the position; on a pixel its two neighbours agree on neither derivative, and it is zero.
template <typename T, typename TapFn>
C10_HOST_DEVICE void for_each_tap(const CropAxis<T>& axis, int32_t i, int32_t pixels, TapFn&& tap) {
  const T position = axis.position(i);
  if (pixels <= 0 || !(position >= T(0) && position <= axis.last)) {
    return;
  }
  const T below = axis.nearest ? std::round(position) : std::floor(position);
  const auto pixel = static_cast<int32_t>(below);
  const T weight = axis.nearest ? T(0) : position - below;
  if (weight == T(0) || pixel + 1 >= pixels) {
    tap(AxisTap<T>{pixel < pixels ? pixel : pixels - 1, T(1), T(0), T(0)});
    return;
  }
  const T high = axis.last * axis.fraction(i);
  const T low = axis.last - high;
  tap(AxisTap<T>{pixel, T(1) - weight, -low, -high});
  tap(AxisTap<T>{pixel + 1, weight, low, high});
}

}  // namespace roiops
