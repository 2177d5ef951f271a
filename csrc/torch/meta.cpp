// Meta kernels: the checks and the empty result, nothing else. Sizes are read as symbols only.
#include <torch/library.h>

#include "torch/check.h"

namespace roiops {
namespace {

Tensor mean_meta(const Tensor& input, const Tensor& boxes, c10::SymIntArrayRef output_size,
    std::string_view op, at::ArrayRef<double> options) {
  return prepare_mean(input, boxes, unpack(output_size, op, options));
}

Tensor mean_backward_meta(const Tensor& grad, const Tensor& boxes, c10::SymIntArrayRef input_size,
    std::string_view op, at::ArrayRef<double> options) {
  return prepare_mean_backward(grad, boxes, input_size, unpack_grad(grad, op, options));
}

Tensor mean_backward_boxes_meta(const Tensor& grad, const Tensor& input, const Tensor& boxes,
    std::string_view op, at::ArrayRef<double> options) {
  return prepare_mean_backward_boxes(grad, input, boxes, unpack_grad(grad, op, options));
}

Tensor mean_jvp_boxes_meta(const Tensor& input, const Tensor& boxes, const Tensor& tangent,
    c10::SymIntArrayRef output_size, std::string_view op, at::ArrayRef<double> options) {
  return prepare_mean_jvp_boxes(input, boxes, tangent, unpack(output_size, op, options));
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, Meta, m) {
  m.impl("roi_align", TORCH_FN(MeanOp<RoiAlign>::kernel<prepare_mean>));
  m.impl("_mean", TORCH_FN(mean_meta));
  m.impl("_mean_backward", TORCH_FN(mean_backward_meta));
  m.impl("_mean_backward_boxes", TORCH_FN(mean_backward_boxes_meta));
  m.impl("_mean_jvp_boxes", TORCH_FN(mean_jvp_boxes_meta));
}

}  // namespace roiops
