// Meta kernels: the checks and the empty result, nothing else. Sizes are read as symbols only.
#include "torch/check.h"

namespace roiops {
namespace {

struct Meta {
  static Tensor mean(const MeanArgs& args) {
    return prepare_mean(args);
  }
  static Tensor mean_backward(const Tensor& grad, const MeanArgs& args, SymIntArrayRef input_size) {
    return prepare_mean_backward(grad, args, input_size);
  }
  static std::tuple<Tensor, Tensor> mean_backward_boxes(const Tensor& grad, const MeanArgs& args) {
    return prepare_mean_backward_boxes(grad, args);
  }
  static Tensor mean_jvp_boxes(
      const MeanArgs& args, const Tensor& boxes_tangent, const Tensor& extra_tangent) {
    return prepare_mean_jvp_boxes(args, boxes_tangent, extra_tangent);
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(roiops, Meta, m) {
  register_mean_ops<Meta>(m);
}

}  // namespace roiops
