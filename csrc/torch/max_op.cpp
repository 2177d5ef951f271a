#include "torch/max_op.h"

namespace roiops {

const c10::TypedOperatorHandle<MaxSelect>& max_select_op() {
  static const auto op = find_op<MaxSelect>("_max_select");
  return op;
}

const c10::TypedOperatorHandle<MaxBackward>& max_backward_op() {
  static const auto op = find_op<MaxBackward>("_max_backward");
  return op;
}

const c10::TypedOperatorHandle<MaxBackwardBoxes>& max_backward_boxes_op() {
  static const auto op = find_op<MaxBackwardBoxes>("_max_backward_boxes");
  return op;
}

RoiArgs RoiPool::pack(const Tensor& input, const Tensor& rois, double spatial_scale,
    SymInt pooled_height, SymInt pooled_width) {
  return {{input}, rois, {},
      {"roi_pool", {spatial_scale}, {std::move(pooled_height), std::move(pooled_width)}}};
}

RoiArgs RoiAlignMax::pack(const Tensor& input, const Tensor& rois, double spatial_scale,
    SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio, bool aligned) {
  RoiArgs args = RoiAlign::pack(input, rois, spatial_scale, std::move(pooled_height),
      std::move(pooled_width), sampling_ratio, aligned);
  args.call.op = "roi_align_max";
  return args;
}

}  // namespace roiops
