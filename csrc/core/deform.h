// The geometry of deform_roi_pool: roi_align's grid, each bin moved by an offset of its own.
#pragma once

#include "core/separable.h"

namespace roiops {

// The samples of a bin that is moved by `shift` times the RoI's size.
template <typename T>
C10_HOST_DEVICE SampleAxis<T> moved(SampleAxis<T> axis, T shift) {
  axis.shift = shift;
  axis.start += shift * axis.size;
  return axis;
}

// How far an offset of one moves a bin, in image coordinates.
template <typename T>
struct DeformStep {
  T y, x;
};

template <typename T>
C10_HOST_DEVICE DeformStep<T> deform_step(const SeparableRoi<SampleAxis<T>>& roi, T gamma) {
  return {gamma * roi.y.size / roi.y.scale, gamma * roi.x.size / roi.x.scale};
}

// A tap of a moved bin. The bin's offset is extra[x_at], extra[y_at]; x_at < 0: it has none.
template <typename T>
struct DeformTap {
  SeparableTap<T> tap;
  DeformStep<T> step;
  int64_t x_at, y_at;

  C10_HOST_DEVICE T weight() const {
    return tap.weight();
  }
  C10_HOST_DEVICE T by_y() const {
    return (tap.y.slope_low + tap.y.slope_high) * tap.x.weight * step.y;
  }
  C10_HOST_DEVICE T by_x() const {
    return tap.y.weight * (tap.x.slope_low + tap.x.slope_high) * step.x;
  }
  C10_HOST_DEVICE T tangent(const T* box, const T* extra) const {
    const T by_box = tap.tangent(box, nullptr);
    return x_at >= 0 ? by_box + by_x() * extra[x_at] + by_y() * extra[y_at] : by_box;
  }
  C10_HOST_DEVICE void add_gradient(T product, T* box, T* extra) const {
    tap.add_gradient(product, box, nullptr);
    if (x_at < 0) {
      return;
    }
    const T x = by_x(), y = by_y();
    extra[x_at] += x != T(0) ? product * x : T(0);
    extra[y_at] += y != T(0) ? product * y : T(0);
  }
};

}  // namespace roiops
