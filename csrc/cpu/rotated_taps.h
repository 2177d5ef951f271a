// The taps of roi_align_rotated: four per sample, not merged. See NOTE [Listers].
#pragma once

#include "core/rotated.h"
#include "cpu/rois.h"

namespace roiops::cpu {

template <typename Scalar>
class RotatedTaps {
 public:
  using T = Scalar;
  static constexpr int kBoxColumns = 5;  // cx, cy, w, h, angle

  RotatedTaps(const RotatedOptions<T>& options, MapSize map) : options_(options), map_(map) {}

  void prepare(const Roi& roi) {
    roi_ = rotated_roi(roi.row, options_);
    size_ = 0;
    for_each_row(
        [&](int32_t, int32_t, T, const SampleRange<T>& columns) { size_ += 4 * columns.count; },
        [] {});
  }

  int64_t bins() const {
    return int64_t{options_.bins.height} * options_.bins.width;
  }
  int64_t extra_size() const {
    return 0;
  }
  int64_t size() const {
    return size_;
  }

  template <typename TapFn, typename EndFn>
  void visit(TapFn&& tap, EndFn&& end_bin) const {
    for_each_row(
        [&](int32_t p, int32_t q, T i, const SampleRange<T>& columns) {
          for (int64_t j = 0; j < columns.count; ++j) {
            roi_.for_each_tap(roi_.sample(p, q, i, columns.first + T(j)), map_,
                [&](int32_t y, int32_t x, const auto& t) { tap(y * map_.width + x, t); });
          }
        },
        end_bin);
  }

 private:
  // Calls row(p, q, i, columns) for the sample rows i of every bin, and end_bin() after each bin.
  template <typename RowFn, typename EndFn>
  void for_each_row(RowFn&& row, EndFn&& end_bin) const {
    for (int32_t p = 0; p < options_.bins.height; ++p) {
      for (int32_t q = 0; q < options_.bins.width; ++q) {
        const SampleRange<T> rows = roi_.rows(p, whole(map_));
        for (int64_t i = 0; i < rows.count; ++i) {
          const T at = rows.first + T(i);
          row(p, q, at, roi_.columns(p, q, at, whole(map_)));
        }
        end_bin();
      }
    }
  }

  RotatedOptions<T> options_;
  MapSize map_;
  RotatedRoi<T> roi_{};
  int64_t size_ = 0;
};

}  // namespace roiops::cpu
