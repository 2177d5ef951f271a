// The taps of deform_roi_pool: roi_align's grid, each bin moved by an offset of its own. Separable
// within a bin. See NOTE [Listers].
#pragma once

#include "core/deform.h"
#include "cpu/separable_taps.h"

namespace roiops::cpu {

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
    step_ = deform_step(decoded, gamma_);
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
              DeformTap<T>{{y, x}, step_, offsets_ ? bin : -1, bins() + bin});
        }
      }
      end_bin();
    }
  }

 private:
  void list(const SampleAxis<T>& roi, int32_t p, int32_t pixels, T offset,
      std::vector<AxisTap<T>>& taps) {
    const SampleAxis<T> axis = moved(roi, gamma_ * offset);
    taps.resize(max_axis_taps(axis, p, pixels));
    taps.resize(axis_taps(axis, p, pixels, taps.data()));
  }

  RoiAlignGeometry<T> geometry_;
  MapSize map_;
  const double* offsets_;
  T gamma_;
  DeformStep<T> step_{};
  std::vector<std::vector<AxisTap<T>>> y_, x_;  // [bins]
};

}  // namespace roiops::cpu
