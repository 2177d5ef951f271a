// Meta kernels: the checks and the empty result, nothing else. Sizes are read as symbols only.
#include "torch/max_op.h"
#include "torch/nms_op.h"
#include "torch/prepare.h"

namespace roiops {
namespace {

struct Meta {
  static Tensor mean(const RoiArgs& args) {
    return prepare_mean(args);
  }
  static Tensor mean_backward(const Tensor& grad, const RoiArgs& args, SymIntArrayRef input_size) {
    return prepare_mean_backward(grad, args, input_size);
  }
  static std::tuple<Tensor, Tensor> mean_backward_boxes(const Tensor& grad, const RoiArgs& args) {
    return prepare_mean_backward_boxes(grad, args);
  }
  static Tensor mean_jvp_boxes(
      const RoiArgs& args, const Tensor& boxes_tangent, const Tensor& extra_tangent) {
    return prepare_mean_jvp_boxes(args, boxes_tangent, extra_tangent);
  }
};

struct MetaMax {
  static std::tuple<Tensor, Tensor> max(const RoiArgs& args) {
    return prepare_max(args);
  }
  static Tensor max_select(const RoiArgs& args, const Tensor& argmax, const Tensor& boxes_tangent) {
    return prepare_max_select(args, argmax, boxes_tangent);
  }
  static Tensor max_backward(
      const Tensor& grad, const Tensor& argmax, const RoiArgs& args, SymIntArrayRef input_size) {
    return prepare_max_backward(grad, argmax, args, input_size);
  }
  static Tensor max_backward_boxes(const Tensor& grad, const Tensor& argmax, const RoiArgs& args) {
    return prepare_max_backward_boxes(grad, argmax, args);
  }
};

struct MetaNms {
  static std::tuple<Tensor, Tensor> nms(const NmsArgs& args, double iou_threshold) {
    return prepare_nms(args, iou_threshold);
  }
  static std::tuple<Tensor, Tensor, Tensor> soft_nms(
      const NmsArgs& args, const SoftNmsOptions& options) {
    return prepare_soft_nms(args, options);
  }
  static Tensor iou(const IouArgs& args) {
    return prepare_iou(args);
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(roiops, Meta, m) {
  register_max_ops<MetaMax>(m);
  register_mean_ops<Meta>(m);
  register_nms_ops<MetaNms>(m);
}

}  // namespace roiops
