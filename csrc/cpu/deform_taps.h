// The taps of deform_roi_pool: roi_align's grid, each bin moved by an offset of its own. Separable
// within a bin. See NOTE [Listers].
#pragma once

#include "cpu/separable_taps.h"

namespace roiops::cpu {

// A tap of a moved bin. Its offset (y, x) moves it by gamma times the RoI's size.
template <typename T>
struct DeformTap {
  SeparableTap<T> tap;
  T step_y, step_x;   // d (image coordinate) / d offset: gamma * size / scale
  int64_t bin, bins;  // bins = 0: there are no offsets

  T weight() const {
    return tap.weight();
  }
  T by_y() const {
    return (tap.y.slope_low + tap.y.slope_high) * tap.x.weight * step_y;
  }
  T by_x() const {
    return tap.y.weight * (tap.x.slope_low + tap.x.slope_high) * step_x;
  }
  // extra = offset [2, bins], x first
  T tangent(const T* box, const T* extra) const {
    const T moved = tap.tangent(box, nullptr);
    return bins > 0 ? moved + by_x() * extra[bin] + by_y() * extra[bins + bin] : moved;
  }
  void add_gradient(T product, T* box, T* extra) const {
    tap.add_gradient(product, box, nullptr);
    if (bins == 0) {
      return;
    }
    const T x = by_x(), y = by_y();
    extra[bin] += x != T(0) ? product * x : T(0);
    extra[bins + bin] += y != T(0) ? product * y : T(0);
  }
};

template <typename Scalar>
class DeformTaps {
 public:
  using T = Scalar;
  static constexpr int kBoxColumns = 4;

  // offsets: [K, 2, PH, PW] or null
  DeformTaps(const RoiAlignGeometry<T>& geometry, MapSize map, const double* offsets, double gamma)
      : geometry_(geometry), map_(map), offsets_(offsets), gamma_(static_cast<T>(gamma)) {}

  void prepare(const Roi& roi) {
    const auto decoded = geometry_.decode(roi.row, map_);
    step_y_ = gamma_ * decoded.y.size / decoded.y.scale;
    step_x_ = gamma_ * decoded.x.size / decoded.x.scale;
    const double* const offset = offsets_ ? offsets_ + roi.number * 2 * bins() : nullptr;
    y_.resize(bins());
    x_.resize(bins());
    for (int64_t bin = 0; bin < bins(); ++bin) {
      const auto p = static_cast<int32_t>(bin / geometry_.bins.width);
      const auto q = static_cast<int32_t>(bin % geometry_.bins.width);
      list(decoded.y, p, map_.height, offset ? T(offset[bins() + bin]) : T(0), y_[bin]);
      list(decoded.x, q, map_.width, offset ? T(offset[bin]) : T(0), x_[bin]);
    }
  }

  int64_t bins() const {
    return int64_t{geometry_.bins.height} * geometry_.bins.width;
  }
  int64_t extra_size() const {
    return offsets_ ? 2 * bins() : 0;
  }
  int64_t size() const {
    size_t count = 0;
    for (int64_t bin = 0; bin < bins(); ++bin) {
      count += y_[bin].size() * x_[bin].size();
    }
    return static_cast<int64_t>(count);
  }

  template <typename TapFn, typename EndFn>
  void visit(TapFn&& tap, EndFn&& end_bin) const {
    for (int64_t bin = 0; bin < bins(); ++bin) {
      for (const AxisTap<T>& y : y_[bin]) {
        for (const AxisTap<T>& x : x_[bin]) {
          tap(y.pixel * map_.width + x.pixel,
              DeformTap<T>{{y, x}, step_y_, step_x_, bin, extra_size() / 2});
        }
      }
      end_bin();
    }
  }

 private:
  void list(
      SampleAxis<T> axis, int32_t p, int32_t pixels, T offset, std::vector<AxisTap<T>>& taps) {
    axis.shift = gamma_ * offset;
    axis.start += axis.shift * axis.size;
    taps.resize(max_axis_taps(axis, p, pixels));
    taps.resize(axis_taps(axis, p, pixels, taps.data()));
  }

  RoiAlignGeometry<T> geometry_;
  MapSize map_;
  const double* offsets_;
  T gamma_, step_y_ = 0, step_x_ = 0;
  std::vector<std::vector<AxisTap<T>>> y_, x_;  // [bins]
};

}  // namespace roiops::cpu
