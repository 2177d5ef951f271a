#include <roiops/roiops.h>

#include "torch/max_op.h"

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

}  // namespace roiops
