// Every operator of the library on one screen. Names, order and defaults of an operator that
// torchvision has are torchvision's. Serialised programs store argument names: never rename one of
// a public operator, and append new ones with a default. Private ones: see NOTE [Mean ops].
#include <torch/library.h>

#include "torch/mean_op.h"

TORCH_LIBRARY(roiops, m) {
  const std::vector<at::Tag> tags = {at::Tag::pt2_compliant_tag};
  m.def(
      "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio=-1, bool aligned=False) -> Tensor",
      tags);

  m.def(
      "_mean(Tensor input, Tensor boxes, SymInt[] output_size, str op, float[] options) -> Tensor",
      tags);
  m.def(
      "_mean_backward(Tensor grad, Tensor boxes, SymInt[] input_size, str op, float[] options)"
      " -> Tensor",
      tags);
  m.def(
      "_mean_backward_boxes(Tensor grad, Tensor input, Tensor boxes, str op, float[] options)"
      " -> Tensor",
      tags);
  m.def(
      "_mean_jvp_boxes(Tensor input, Tensor boxes, Tensor tangent, SymInt[] output_size, str op, "
      "float[] options) -> Tensor",
      tags);
}

namespace roiops {
const c10::TypedOperatorHandle<Mean>& mean_op() {
  static const auto op = find_op<Mean>("roiops::_mean");
  return op;
}

const c10::TypedOperatorHandle<MeanBackward>& mean_backward_op() {
  static const auto op = find_op<MeanBackward>("roiops::_mean_backward");
  return op;
}

const c10::TypedOperatorHandle<MeanBackwardBoxes>& mean_backward_boxes_op() {
  static const auto op = find_op<MeanBackwardBoxes>("roiops::_mean_backward_boxes");
  return op;
}

const c10::TypedOperatorHandle<MeanJvpBoxes>& mean_jvp_boxes_op() {
  static const auto op = find_op<MeanJvpBoxes>("roiops::_mean_jvp_boxes");
  return op;
}

MeanCall RoiAlign::pack(double spatial_scale, c10::SymInt pooled_height, c10::SymInt pooled_width,
    int64_t sampling_ratio, bool aligned) {
  return {"roi_align", {spatial_scale, static_cast<double>(sampling_ratio), aligned ? 1.0 : 0.0},
      {std::move(pooled_height), std::move(pooled_width)}};
}

}  // namespace roiops
