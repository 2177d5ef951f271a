// What the operators that take the maximum of a bin's samples have in common above the kernels.
//
// NOTE [Max ops]
// Such an operator returns the values and the winners, as integers. Given the winners it is linear
// in its features, so that its derivatives are, as in NOTE [Mean ops], private operators that all
// of them share:
//   _max_select          the winners' values of any features (double backward, tangents), or, given
//                        a tangent of the boxes, how far the values move with it
//   _max_backward        gradient by the features
//   _max_backward_boxes  gradient by the boxes, with the winners held constant
#pragma once

#include "torch/mean_op.h"

namespace roiops {

using MaxSelect = Tensor(const Tensor& input, const Tensor& argmax, const Tensor& boxes,
    const OptionalTensor& boxes_tangent, std::string_view op, Options options);
using MaxBackward = Tensor(const Tensor& grad, const Tensor& argmax, const Tensor& boxes,
    SymIntArrayRef input_size, std::string_view op, Options options);
using MaxBackwardBoxes = Tensor(const Tensor& grad, const Tensor& input, const Tensor& argmax,
    const Tensor& boxes, std::string_view op, Options options);

const c10::TypedOperatorHandle<MaxSelect>& max_select_op();
const c10::TypedOperatorHandle<MaxBackward>& max_backward_op();
const c10::TypedOperatorHandle<MaxBackwardBoxes>& max_backward_boxes_op();

struct RoiPool {
  static constexpr const char* kName = "roi_pool";
  static RoiArgs pack(const Tensor& input, const Tensor& rois, double spatial_scale,
      SymInt pooled_height, SymInt pooled_width);
};
struct RoiAlignMax {
  static constexpr const char* kName = "roi_align_max";
  static RoiArgs pack(const Tensor& input, const Tensor& rois, double spatial_scale,
      SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio, bool aligned);
};

template <typename Visit>
void for_each_max_op(Visit&& visit) {
  visit.template operator()<RoiPool>();
  visit.template operator()<RoiAlignMax>();
}

template <typename Op, typename Pack = decltype(Op::pack)>
struct MaxOp;

template <typename Op, typename... Args>
struct MaxOp<Op, RoiArgs(Args...)> {
  using Result = std::tuple<Tensor, Tensor>;  // values, argmax

  static const auto& handle() {
    static const auto op = find_op<Result(Args...)>(Op::kName);
    return op;
  }
  template <typename Backend>
  static Result kernel(Args... args) {
    return Backend::max(Op::pack(std::forward<Args>(args)...));
  }
};

// A backend has static functions max, max_select, max_backward and max_backward_boxes on unpacked
// arguments; these are their kernels for the private operators.
template <typename Backend>
struct PrivateMaxOps {
  static Tensor max_select(const Tensor& input, const Tensor& argmax, const Tensor& boxes,
      const OptionalTensor& boxes_tangent, std::string_view op, Options options) {
    return Backend::max_select(
        to_args({input}, boxes, {}, op, options, output_size_of(argmax, "argmax", op)), argmax,
        boxes_tangent.value_or(Tensor()));
  }
  static Tensor max_backward(const Tensor& grad, const Tensor& argmax, const Tensor& boxes,
      SymIntArrayRef input_size, std::string_view op, Options options) {
    return Backend::max_backward(grad, argmax,
        to_args({}, boxes, {}, op, options, output_size_of(grad, "grad", op)), input_size);
  }
  static Tensor max_backward_boxes(const Tensor& grad, const Tensor& input, const Tensor& argmax,
      const Tensor& boxes, std::string_view op, Options options) {
    return Backend::max_backward_boxes(
        grad, argmax, to_args({input}, boxes, {}, op, options, output_size_of(grad, "grad", op)));
  }
};

template <typename Backend>
void register_max_ops(torch::Library& m) {
  for_each_max_op([&]<typename Op>() { m.impl(Op::kName, &MaxOp<Op>::template kernel<Backend>); });
  m.impl("_max_select", &PrivateMaxOps<Backend>::max_select);
  m.impl("_max_backward", &PrivateMaxOps<Backend>::max_backward);
  m.impl("_max_backward_boxes", &PrivateMaxOps<Backend>::max_backward_boxes);
}

}  // namespace roiops
