#include <roiops/roiops.h>

#include "torch/max_op.h"
#include "torch/nms_op.h"

namespace roiops {

const char* version() {
  return ROIOPS_VERSION;
}

Tensor roi_align(const Tensor& input, const Tensor& rois, double spatial_scale,
    int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
  return MeanOp<RoiAlign>::handle().call(
      input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned);
}

std::tuple<Tensor, Tensor> roi_align_max(const Tensor& input, const Tensor& rois,
    double spatial_scale, int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio,
    bool aligned) {
  return MaxOp<RoiAlignMax>::handle().call(
      input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned);
}

std::tuple<Tensor, Tensor> roi_pool(const Tensor& input, const Tensor& rois, double spatial_scale,
    int64_t pooled_height, int64_t pooled_width) {
  return MaxOp<RoiPool>::handle().call(input, rois, spatial_scale, pooled_height, pooled_width);
}

Tensor ps_roi_align(const Tensor& input, const Tensor& rois, double spatial_scale,
    int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio) {
  return MeanOp<PsRoiAlign>::handle().call(
      input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio);
}

Tensor ps_roi_pool(const Tensor& input, const Tensor& rois, double spatial_scale,
    int64_t pooled_height, int64_t pooled_width) {
  return MeanOp<PsRoiPool>::handle().call(input, rois, spatial_scale, pooled_height, pooled_width);
}

Tensor crop_and_resize(const Tensor& image, const Tensor& boxes, const Tensor& box_indices,
    int64_t crop_height, int64_t crop_width, std::string_view method, double extrapolation_value) {
  return MeanOp<CropAndResize>::handle().call(
      image, boxes, box_indices, crop_height, crop_width, method, extrapolation_value);
}

Tensor roi_align_rotated(const Tensor& input, const Tensor& rois, double spatial_scale,
    int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, bool aligned,
    bool clockwise) {
  return MeanOp<RoiAlignRotated>::handle().call(
      input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned, clockwise);
}

Tensor prroi_pool(const Tensor& input, const Tensor& rois, double spatial_scale,
    int64_t pooled_height, int64_t pooled_width) {
  return MeanOp<PrRoiPool>::handle().call(input, rois, spatial_scale, pooled_height, pooled_width);
}

Tensor deform_roi_pool(const Tensor& input, const Tensor& rois, const OptionalTensor& offset,
    double spatial_scale, int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio,
    double gamma) {
  return MeanOp<DeformRoiPool>::handle().call(
      input, rois, offset, spatial_scale, pooled_height, pooled_width, sampling_ratio, gamma);
}

Tensor multiscale_roi_align(TensorList features, const Tensor& rois, Options spatial_scales,
    int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, bool aligned,
    int64_t canonical_scale, int64_t canonical_level) {
  return MeanOp<MultiscaleRoiAlign>::handle().call(features, rois, spatial_scales, pooled_height,
      pooled_width, sampling_ratio, aligned, canonical_scale, canonical_level);
}

namespace {

// The functions whose results are cut take one image.
void check_one_image(const char* op, const Tensor& boxes, int64_t least, int64_t most) {
  TORCH_CHECK(boxes.dim() == 2 && boxes.size(1) >= least && boxes.size(1) <= most, op,
      ": `boxes` must have shape ",
      most == 4    ? "[N, 4]"
      : least == 5 ? "[N, 5]"
                   : "[N, 4] or [N, 5]",
      ", but got ", boxes.sizes(), ".");
}

Tensor cut(const std::tuple<Tensor, Tensor>& padded) {
  return std::get<0>(padded).narrow(0, 0, std::get<1>(padded).item<int64_t>());
}

}  // namespace

Tensor nms(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  check_one_image("nms", boxes, 4, 4);
  return cut(nms_padded(boxes, scores, iou_threshold, boxes.size(0)));
}

Tensor batched_nms(
    const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  check_one_image("batched_nms", boxes, 4, 4);
  return cut(nms_padded(boxes, scores, iou_threshold, boxes.size(0), idxs));
}

Tensor nms_rotated(const Tensor& boxes, const Tensor& scores, double iou_threshold,
    const OptionalTensor& idxs, bool clockwise) {
  check_one_image("nms_rotated", boxes, 5, 5);
  return cut(
      nms_padded(boxes, scores, iou_threshold, boxes.size(0), idxs, std::nullopt, clockwise));
}

std::tuple<Tensor, Tensor> soft_nms(const Tensor& boxes, const Tensor& scores, double iou_threshold,
    double sigma, double min_score, std::string_view method, const OptionalTensor& idxs,
    bool clockwise) {
  check_one_image("soft_nms", boxes, 4, 5);
  const auto [numbers, lowered, count] = soft_nms_padded(
      boxes, scores, boxes.size(0), iou_threshold, sigma, min_score, method, idxs, clockwise);
  const auto size = count.item<int64_t>();
  return {numbers.narrow(0, 0, size), lowered.narrow(0, 0, size)};
}

std::tuple<Tensor, Tensor> nms_padded(const Tensor& boxes, const Tensor& scores,
    double iou_threshold, int64_t max_output, const OptionalTensor& idxs,
    std::optional<double> score_threshold, bool clockwise) {
  return nms_padded_op().call(
      boxes, scores, iou_threshold, max_output, idxs, score_threshold, clockwise);
}

std::tuple<Tensor, Tensor, Tensor> soft_nms_padded(const Tensor& boxes, const Tensor& scores,
    int64_t max_output, double iou_threshold, double sigma, double min_score,
    std::string_view method, const OptionalTensor& idxs, bool clockwise) {
  return soft_nms_padded_op().call(
      boxes, scores, max_output, iou_threshold, sigma, min_score, method, idxs, clockwise);
}

Tensor box_iou(const Tensor& boxes1, const Tensor& boxes2) {
  return box_iou_op().call(boxes1, boxes2);
}

Tensor box_iou_rotated(const Tensor& boxes1, const Tensor& boxes2, bool clockwise) {
  return box_iou_rotated_op().call(boxes1, boxes2, clockwise);
}

}  // namespace roiops
