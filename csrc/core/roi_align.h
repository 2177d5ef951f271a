// The geometry of roi_align (Mask R-CNN, arXiv:1703.06870, section 3; semantics.md section 2).
#pragma once

#include "core/axis_taps.h"

namespace roiops {

// A RoI of a separable op: one sample axis each way.
template <typename T>
struct SeparableRoi {
  SampleAxis<T> y, x;
};

// roi = (image, x1, y1, x2, y2)
template <typename T>
struct RoiAlignGeometry {
  using Scalar = T;
  static constexpr int64_t kColumns = 5;

  SamplingOptions options;
  int32_t height, width;          // of the feature map
  int32_t bin_rows, bin_columns;  // bins per RoI

  C10_HOST_DEVICE SeparableRoi<T> decode(const double* roi) const {
    return {sample_axis(T(roi[2]), T(roi[4]), bin_rows, options),
        sample_axis(T(roi[1]), T(roi[3]), bin_columns, options)};
  }
};

}  // namespace roiops
