// Autograd of the operators on boxes alone.
//
// nms_padded returns integers, which have no gradient, as the winners of a maximum have none.
// box_iou is differentiated through its formula in PyTorch's own operators, of any order.
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>

#include "torch/autograd_common.h"
#include "torch/nms_op.h"

namespace roiops {
namespace {

// NOTE [IoU] in PyTorch's operators: the same values, at more memory.
Tensor differentiable_iou(const Tensor& boxes1, const Tensor& boxes2) {
  const auto type = any_double(boxes1, boxes2) ? at::kDouble : at::kFloat;
  const Tensor a = boxes1.to(type), b = boxes2.to(type);
  // Coordinates along rows and columns of the result: narrow, because the backward of select is
  // wrong for a DTensor whose boxes are sharded.
  const auto row = [&](int64_t i) { return a.narrow(-1, i, 1); };
  const auto column = [&](int64_t i) { return b.narrow(-1, i, 1).transpose(-2, -1); };
  const auto area = [](const auto& of) { return (of(2) - of(0)) * (of(3) - of(1)); };
  const auto part = [&](int64_t low, int64_t high) {
    return (at::minimum(row(high), column(high)) - at::maximum(row(low), column(low))).clamp_min(0);
  };
  const Tensor inner = part(0, 2) * part(1, 3);
  const Tensor whole = area(row) + area(column) - inner;
  // The ratio that is not meant must not be divided by zero either: its gradient would be NaN.
  const Tensor none = whole.le(0);
  return at::where(none, at::zeros({}, whole.options()), inner / at::where(none, 1, whole));
}

Tensor box_iou(c10::DispatchKeySet keys, const Tensor& boxes1, const Tensor& boxes2) {
  if (ag::compute_requires_grad(boxes1, boxes2) || tangent(boxes1).defined() ||
      tangent(boxes2).defined()) {
    check_iou({"box_iou", boxes1, boxes2, false, false});
    return differentiable_iou(boxes1, boxes2);
  }
  return below_autograd(box_iou_op(), keys, boxes1, boxes2);
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, Autograd, m) {
  m.impl("nms_padded", torch::CppFunction::makeFallthrough());
  m.impl("box_iou", &box_iou);
  // Backward raises by name.
  m.impl("box_iou_rotated", ag::autogradNotImplementedFallback());
  m.impl("soft_nms_padded", ag::autogradNotImplementedFallback());
}

}  // namespace roiops
