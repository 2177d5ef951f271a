// The operators' C++ signatures and dispatcher handles.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

namespace roiops {

// The options of roi_align in schema order; `I` is c10::SymInt above the backends, int64_t below.
template <typename I>
struct RoiAlignArgs {
  double spatial_scale;
  I pooled_height;
  I pooled_width;
  int64_t sampling_ratio;
  bool aligned;
};

using RoiAlign = at::Tensor(const at::Tensor& input, const at::Tensor& rois, double spatial_scale,
    c10::SymInt pooled_height, c10::SymInt pooled_width, int64_t sampling_ratio, bool aligned);
using RoiAlignBackward = at::Tensor(const at::Tensor& grad, const at::Tensor& rois,
    double spatial_scale, c10::SymInt pooled_height, c10::SymInt pooled_width,
    c10::SymInt batch_size, c10::SymInt channels, c10::SymInt height, c10::SymInt width,
    int64_t sampling_ratio, bool aligned);
using RoiAlignBackwardRois = at::Tensor(const at::Tensor& grad, const at::Tensor& input,
    const at::Tensor& rois, double spatial_scale, c10::SymInt pooled_height,
    c10::SymInt pooled_width, int64_t sampling_ratio, bool aligned);
using RoiAlignJvpRois = at::Tensor(const at::Tensor& input, const at::Tensor& rois,
    const at::Tensor& tangent, double spatial_scale, c10::SymInt pooled_height,
    c10::SymInt pooled_width, int64_t sampling_ratio, bool aligned);

template <typename Signature>
c10::TypedOperatorHandle<Signature> find_op(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

const c10::TypedOperatorHandle<RoiAlign>& roi_align_op();
const c10::TypedOperatorHandle<RoiAlignBackward>& roi_align_backward_op();
const c10::TypedOperatorHandle<RoiAlignBackwardRois>& roi_align_backward_rois_op();
const c10::TypedOperatorHandle<RoiAlignJvpRois>& roi_align_jvp_rois_op();

}  // namespace roiops
