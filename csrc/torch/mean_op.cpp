#include "torch/mean_op.h"

namespace roiops {

const c10::TypedOperatorHandle<Mean>& mean_op() {
  static const auto op = find_op<Mean>("_mean");
  return op;
}

const c10::TypedOperatorHandle<MeanBackward>& mean_backward_op() {
  static const auto op = find_op<MeanBackward>("_mean_backward");
  return op;
}

const c10::TypedOperatorHandle<MeanBackwardBoxes>& mean_backward_boxes_op() {
  static const auto op = find_op<MeanBackwardBoxes>("_mean_backward_boxes");
  return op;
}

const c10::TypedOperatorHandle<MeanJvpBoxes>& mean_jvp_boxes_op() {
  static const auto op = find_op<MeanJvpBoxes>("_mean_jvp_boxes");
  return op;
}

RoiCall call_of_level(const RoiCall& call, size_t level) {
  RoiCall result = call;
  if (call.op == "multiscale_roi_align" && call.options.size() > kLevelOption &&
      call.options[kLevelOption] == kAllLevels) {
    result.options[kLevelOption] = static_cast<double>(level);
  }
  return result;
}

namespace {

double number(int64_t value) {
  return static_cast<double>(value);
}

}  // namespace

RoiArgs with_float_features(RoiArgs args) {
  for (Tensor& map : args.inputs) {
    const bool integral =
        map.defined() && at::isIntegralType(map.scalar_type(), /*includeBool=*/true);
    map = integral && is_crop(args.call) ? map.to(at::kFloat) : map;
  }
  return args;
}

RoiArgs RoiAlign::pack(const Tensor& input, const Tensor& rois, double spatial_scale,
    SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio, bool aligned) {
  return {{input}, rois, {},
      {"roi_align", {spatial_scale, number(sampling_ratio), number(aligned)},
          {std::move(pooled_height), std::move(pooled_width)}}};
}

RoiArgs PsRoiAlign::pack(const Tensor& input, const Tensor& rois, double spatial_scale,
    SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio) {
  return {{input}, rois, {},
      {"ps_roi_align", {spatial_scale, number(sampling_ratio)},
          {std::move(pooled_height), std::move(pooled_width)}}};
}

RoiArgs PsRoiPool::pack(const Tensor& input, const Tensor& rois, double spatial_scale,
    SymInt pooled_height, SymInt pooled_width) {
  return {{input}, rois, {},
      {"ps_roi_pool", {spatial_scale}, {std::move(pooled_height), std::move(pooled_width)}}};
}

RoiArgs CropAndResize::pack(const Tensor& image, const Tensor& boxes, const Tensor& box_indices,
    SymInt crop_height, SymInt crop_width, std::string_view method, double extrapolation_value) {
  TORCH_CHECK(method == "bilinear" || method == "nearest",
      "crop_and_resize: `method` must be \"bilinear\" or \"nearest\", but got \"", method, "\".");
  return {{image}, boxes, box_indices,
      {"crop_and_resize", {number(method == "nearest"), extrapolation_value},
          {std::move(crop_height), std::move(crop_width)}}};
}

RoiArgs RoiAlignRotated::pack(const Tensor& input, const Tensor& rois, double spatial_scale,
    SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio, bool aligned,
    bool clockwise) {
  return {{input}, rois, {},
      {"roi_align_rotated",
          {spatial_scale, number(sampling_ratio), number(aligned), number(clockwise)},
          {std::move(pooled_height), std::move(pooled_width)}}};
}

RoiArgs PrRoiPool::pack(const Tensor& input, const Tensor& rois, double spatial_scale,
    SymInt pooled_height, SymInt pooled_width) {
  return {{input}, rois, {},
      {"prroi_pool", {spatial_scale}, {std::move(pooled_height), std::move(pooled_width)}}};
}

RoiArgs DeformRoiPool::pack(const Tensor& input, const Tensor& rois, const OptionalTensor& offset,
    double spatial_scale, SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio,
    double gamma) {
  return {{input}, rois, offset.value_or(Tensor()),
      {"deform_roi_pool", {spatial_scale, number(sampling_ratio), gamma},
          {std::move(pooled_height), std::move(pooled_width)}}};
}

RoiArgs MultiscaleRoiAlign::pack(TensorList features, const Tensor& rois, Options spatial_scales,
    SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio, bool aligned,
    int64_t canonical_scale, int64_t canonical_level) {
  std::vector<double> options = {number(sampling_ratio), number(aligned), number(canonical_scale),
      number(canonical_level), kAllLevels};
  options.insert(options.end(), spatial_scales.begin(), spatial_scales.end());
  return {features.vec(), rois, {},
      {"multiscale_roi_align", std::move(options),
          {std::move(pooled_height), std::move(pooled_width)}}};
}

}  // namespace roiops
