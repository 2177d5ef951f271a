#include <roiops/roiops.h>

#include "torch/mean_op.h"

namespace roiops {

const char* version() {
  return ROIOPS_VERSION;
}

at::Tensor roi_align(const at::Tensor& input, const at::Tensor& rois, double spatial_scale,
    int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
  return MeanOp<RoiAlign>::handle().call(
      input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned);
}

}  // namespace roiops
