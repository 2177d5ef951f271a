// Every operator of the library on one screen. Names, order and defaults of an operator that
// torchvision has are torchvision's, of the others the named peer's. Serialised programs store
// argument names: never rename one of a public operator, and append new ones with a default.
// Private ones: see NOTE [Mean ops] and NOTE [Max ops]; those on boxes alone: NOTE [Padded NMS].
#include <torch/library.h>

TORCH_LIBRARY(roiops, m) {
  const std::vector<at::Tag> tags = {at::Tag::pt2_compliant_tag};
  const auto def = [&](const char* schema) { m.def(schema, tags); };
  def("roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio=-1, bool aligned=False) -> Tensor");
  def("ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio=-1) -> Tensor");
  def("ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width) -> Tensor");
  def("crop_and_resize(Tensor image, Tensor boxes, Tensor box_indices, SymInt crop_height, "
      "SymInt crop_width, str method=\"bilinear\", float extrapolation_value=0.0) -> Tensor");
  def("roi_align_rotated(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio=-1, bool aligned=True, bool clockwise=False)"
      " -> Tensor");
  def("prroi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width) -> Tensor");
  def("deform_roi_pool(Tensor input, Tensor rois, Tensor? offset, float spatial_scale, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio=0, float gamma=0.1)"
      " -> Tensor");
  def("multiscale_roi_align(Tensor[] features, Tensor rois, float[] spatial_scales, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio=-1, bool aligned=False, "
      "int canonical_scale=224, int canonical_level=4) -> Tensor");
  def("roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width) -> (Tensor, Tensor)");
  def("roi_align_max(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio=-1, bool aligned=False) -> (Tensor, Tensor)");

  def("nms_padded(Tensor boxes, Tensor scores, float iou_threshold, SymInt max_output, "
      "Tensor? idxs=None, float? score_threshold=None, bool clockwise=False) -> (Tensor, Tensor)");
  def("soft_nms_padded(Tensor boxes, Tensor scores, SymInt max_output, float iou_threshold=0.3, "
      "float sigma=0.5, float min_score=0.001, str method=\"linear\", Tensor? idxs=None, "
      "bool clockwise=False) -> (Tensor, Tensor, Tensor)");
  def("box_iou(Tensor boxes1, Tensor boxes2) -> Tensor");
  def("box_iou_rotated(Tensor boxes1, Tensor boxes2, bool clockwise=False) -> Tensor");

  def("_mean(Tensor input, Tensor boxes, Tensor? extra, SymInt[] output_size, str op, "
      "float[] options) -> Tensor");
  def("_mean_backward(Tensor grad, Tensor boxes, Tensor? extra, SymInt[] input_size, str op, "
      "float[] options) -> Tensor");
  def("_mean_backward_boxes(Tensor grad, Tensor input, Tensor boxes, Tensor? extra, str op, "
      "float[] options) -> (Tensor, Tensor)");
  def("_mean_jvp_boxes(Tensor input, Tensor boxes, Tensor? extra, Tensor? boxes_tangent, "
      "Tensor? extra_tangent, SymInt[] output_size, str op, float[] options) -> Tensor");
  def("_max_select(Tensor input, Tensor argmax, Tensor boxes, Tensor? boxes_tangent, str op, "
      "float[] options) -> Tensor");
  def("_max_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt[] input_size, str op, "
      "float[] options) -> Tensor");
  def("_max_backward_boxes(Tensor grad, Tensor input, Tensor argmax, Tensor boxes, str op, "
      "float[] options) -> Tensor");
}
