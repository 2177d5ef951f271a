// Every operator of the library on one screen. Names, order and defaults of an operator that
// torchvision has are torchvision's. Serialised programs store argument names: never rename one,
// and append new ones with a default.
#include <torch/library.h>

#include "torch/ops.h"

TORCH_LIBRARY(roiops, m) {
  const std::vector<at::Tag> tags = {at::Tag::pt2_compliant_tag};
  m.def(
      "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio=-1, bool aligned=False) -> Tensor",
      tags);
  m.def(
      "_roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, SymInt batch_size, SymInt channels, SymInt height, SymInt width, "
      "int sampling_ratio, bool aligned) -> Tensor",
      tags);
  m.def(
      "_roi_align_backward_rois(Tensor grad, Tensor input, Tensor rois, float spatial_scale, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
      tags);
  m.def(
      "_roi_align_jvp_rois(Tensor input, Tensor rois, Tensor tangent, float spatial_scale, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
      tags);
}

namespace roiops {

#define ROIOPS_HANDLE(function, Signature, name)                \
  const c10::TypedOperatorHandle<Signature>& function() {       \
    static const auto op = find_op<Signature>("roiops::" name); \
    return op;                                                  \
  }

ROIOPS_HANDLE(roi_align_op, RoiAlign, "roi_align")
ROIOPS_HANDLE(roi_align_backward_op, RoiAlignBackward, "_roi_align_backward")
ROIOPS_HANDLE(roi_align_backward_rois_op, RoiAlignBackwardRois, "_roi_align_backward_rois")
ROIOPS_HANDLE(roi_align_jvp_rois_op, RoiAlignJvpRois, "_roi_align_jvp_rois")

}  // namespace roiops
