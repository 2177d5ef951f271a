// What all average-type operators have in common above the kernels.
//
// NOTE [Mean ops]
// An average-type operator is a tap matrix applied to features. Its public schema (roi_align, ...)
// differs from the others' in its options only, so that derivatives are four private operators
// shared by all of them, which take the public operator's name and its options as plain data:
//   _mean                 the operator itself (double backward, tangents by the features)
//   _mean_backward        gradient by the features
//   _mean_backward_boxes  gradient by the boxes
//   _mean_jvp_boxes       tangent by the boxes
// A public operator is a function that packs its options into a MeanCall, and a line in each file
// of this folder.
#pragma once

#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

namespace roiops {

using at::Tensor;

// Which operator with which options, in types that a dispatcher schema and a saved graph can hold.
struct MeanCall {
  std::string op;                        // the public operator's name
  std::vector<double> options;           // in the order of the packing function
  std::vector<c10::SymInt> output_size;  // PH, PW
};

// A public operator: its name, and how the arguments after its tensors become a call.
struct RoiAlign {
  static constexpr const char* kName = "roiops::roi_align";
  static MeanCall pack(double spatial_scale, c10::SymInt pooled_height, c10::SymInt pooled_width,
      int64_t sampling_ratio, bool aligned);
};

using Mean = Tensor(const Tensor& input, const Tensor& boxes, c10::SymIntArrayRef output_size,
    std::string_view op, at::ArrayRef<double> options);
using MeanBackward = Tensor(const Tensor& grad, const Tensor& boxes, c10::SymIntArrayRef input_size,
    std::string_view op, at::ArrayRef<double> options);
using MeanBackwardBoxes = Tensor(const Tensor& grad, const Tensor& input, const Tensor& boxes,
    std::string_view op, at::ArrayRef<double> options);
using MeanJvpBoxes = Tensor(const Tensor& input, const Tensor& boxes, const Tensor& tangent,
    c10::SymIntArrayRef output_size, std::string_view op, at::ArrayRef<double> options);

const c10::TypedOperatorHandle<Mean>& mean_op();
const c10::TypedOperatorHandle<MeanBackward>& mean_backward_op();
const c10::TypedOperatorHandle<MeanBackwardBoxes>& mean_backward_boxes_op();
const c10::TypedOperatorHandle<MeanJvpBoxes>& mean_jvp_boxes_op();

inline MeanCall unpack(
    c10::SymIntArrayRef output_size, std::string_view op, at::ArrayRef<double> options) {
  return {std::string(op), options.vec(), output_size.vec()};
}

template <typename Signature>
c10::TypedOperatorHandle<Signature> find_op(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

// What the registrations of a public operator have in common.
template <typename Op, typename Pack = decltype(Op::pack)>
struct MeanOp;

template <typename Op, typename... Options>
struct MeanOp<Op, MeanCall(Options...)> {
  using Handle = c10::TypedOperatorHandle<Tensor(const Tensor&, const Tensor&, Options...)>;

  static const Handle& handle() {
    static const Handle op = find_op<Tensor(const Tensor&, const Tensor&, Options...)>(Op::kName);
    return op;
  }

  // A backend's kernel, from what that backend does for any call.
  template <Tensor (*kMean)(const Tensor&, const Tensor&, const MeanCall&)>
  static Tensor kernel(const Tensor& input, const Tensor& rois, Options... options) {
    return kMean(input, rois, Op::pack(std::move(options)...));
  }
};

}  // namespace roiops
