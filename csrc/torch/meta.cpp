// Meta kernels: the checks and the empty result, nothing else. Sizes are read as symbols only.
#include <torch/library.h>

#include "torch/check.h"

namespace roiops {
namespace {

using c10::SymInt;

at::Tensor roi_align_meta(const at::Tensor& input, const at::Tensor& rois, double spatial_scale,
    SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio, bool aligned) {
  return prepare_roi_align("roi_align", input, rois,
      {spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned});
}

at::Tensor roi_align_backward_meta(const at::Tensor& grad, const at::Tensor& rois,
    double spatial_scale, SymInt pooled_height, SymInt pooled_width, SymInt batch_size,
    SymInt channels, SymInt height, SymInt width, int64_t sampling_ratio, bool aligned) {
  const SymInt size[] = {batch_size, channels, height, width};
  return prepare_roi_align_backward("_roi_align_backward", grad, rois,
      {spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned}, size);
}

at::Tensor roi_align_backward_rois_meta(const at::Tensor& grad, const at::Tensor& input,
    const at::Tensor& rois, double spatial_scale, SymInt pooled_height, SymInt pooled_width,
    int64_t sampling_ratio, bool aligned) {
  return prepare_roi_align_backward_rois("_roi_align_backward_rois", grad, input, rois,
      {spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned});
}

at::Tensor roi_align_jvp_rois_meta(const at::Tensor& input, const at::Tensor& rois,
    const at::Tensor& tangent, double spatial_scale, SymInt pooled_height, SymInt pooled_width,
    int64_t sampling_ratio, bool aligned) {
  return prepare_roi_align_jvp_rois("_roi_align_jvp_rois", input, rois, tangent,
      {spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned});
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, Meta, m) {
  m.impl("roi_align", TORCH_FN(roi_align_meta));
  m.impl("_roi_align_backward", TORCH_FN(roi_align_backward_meta));
  m.impl("_roi_align_backward_rois", TORCH_FN(roi_align_backward_rois_meta));
  m.impl("_roi_align_jvp_rois", TORCH_FN(roi_align_jvp_rois_meta));
}

}  // namespace roiops
