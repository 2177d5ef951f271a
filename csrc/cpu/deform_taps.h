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
    roi_ = geometry_.decode(roi.row, map_);
    step_ = deform_step(roi_, gamma_);
    offset_ = offsets_ ? offsets_ + roi.number * extra_size() : nullptr;
  }

  MapSize grid() const {
    return geometry_.bins;
  }
  int64_t extra_size() const {
    return offsets_ ? 2 * bins() : 0;
  }
  int64_t size(int32_t p) {
    size_t count = 0;
    for (int32_t q = 0; q < geometry_.bins.width; ++q) {
      list_bin(p, q);
      count += y_.size() * x_.size();
    }
    return static_cast<int64_t>(count);
  }

  template <typename TapFn, typename EndFn>
  void visit(int32_t p, TapFn&& tap, EndFn&& end_bin) {
    for (int32_t q = 0; q < geometry_.bins.width; ++q) {
      const int64_t bin = list_bin(p, q);
      for (const AxisTap<T>& y : y_) {
        for (const AxisTap<T>& x : x_) {
          tap(y.pixel * map_.width + x.pixel,
              DeformTap<T>{{y, x}, step_, offset_ ? bin : -1, bins() + bin});
        }
      }
      end_bin();
    }
  }

 private:
  int64_t bins() const {
    return int64_t{geometry_.bins.height} * geometry_.bins.width;
  }
  // Returns the bin's number.
  int64_t list_bin(int32_t p, int32_t q) {
    const int64_t bin = int64_t{p} * geometry_.bins.width + q;
    list(roi_.y, p, map_.height, offset_ ? T(offset_[bins() + bin]) : T(0), y_);
    list(roi_.x, q, map_.width, offset_ ? T(offset_[bin]) : T(0), x_);
    return bin;
  }
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
  SeparableRoi<SampleAxis<T>> roi_{};
  DeformStep<T> step_{};
  const double* offset_ = nullptr;  // the RoI's
  std::vector<AxisTap<T>> y_, x_;   // of a bin
};

}  // namespace roiops::cpu
