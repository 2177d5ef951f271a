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
  }

  MapSize grid() const {
    return options_.bins;
  }
  int64_t extra_size() const {
    return 0;
  }
  int64_t size(int32_t p) const {
    int64_t size = 0;
    for_each_row(
        p, [&](int32_t, T, const SampleRange<T>& columns) { size += 4 * columns.count; }, [] {});
    return size;
  }

  template <typename TapFn, typename EndFn>
  void visit(int32_t p, TapFn&& tap, EndFn&& end_bin) const {
    for_each_row(
        p,
        [&](int32_t q, T i, const SampleRange<T>& columns) {
          for (int64_t j = 0; j < columns.count; ++j) {
            roi_.for_each_tap(roi_.sample(p, q, i, columns.first + T(j)), map_,
                [&](int32_t y, int32_t x, const auto& t) { tap(y * map_.width + x, t); });
          }
        },
        end_bin);
  }

 private:
  // Calls row(q, i, columns) for the sample rows i of every bin in row p, and end_bin() after each
  // bin.
  template <typename RowFn, typename EndFn>
  void for_each_row(int32_t p, RowFn&& row, EndFn&& end_bin) const {
    const SampleRange<T> rows = roi_.rows(p, whole(map_));
    for (int32_t q = 0; q < options_.bins.width; ++q) {
      for (int64_t i = 0; i < rows.count; ++i) {
        const T at = rows.first + T(i);
        row(q, at, roi_.columns(p, q, at, whole(map_)));
      }
      end_bin();
    }
  }

  RotatedOptions<T> options_;
  MapSize map_;
  RotatedRoi<T> roi_{};
};

}  // namespace roiops::cpu
