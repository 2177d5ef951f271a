// What all average-type operators have in common above the kernels.
//
// NOTE [Mean ops]
// An average-type operator is a tap matrix applied to features. Its public schema (roi_align, ...)
// differs from the others' in its arguments only, so that derivatives are four private operators
// shared by all of them, which take the public operator's name and its options as plain data:
//   _mean                 the operator itself (double backward, tangents by the features)
//   _mean_backward        gradient by the features
//   _mean_backward_boxes  gradient by the boxes (and offsets)
//   _mean_jvp_boxes       tangent by the boxes (and offsets)
// They take one map, so that every kind of vmap can batch them: a feature pyramid has a call per
// level, which touches the boxes of that level only.
// A public operator is a struct with a function that packs its arguments, an entry in
// for_each_mean_op, a rule in check.cpp and a geometry in each backend.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

namespace roiops {

using at::Tensor;
using at::TensorList;
using c10::SymInt;
using c10::SymIntArrayRef;
using Options = at::ArrayRef<double>;
using OptionalTensor = std::optional<Tensor>;

// Which operator with which options, in types that a dispatcher schema and a saved graph can hold.
struct RoiCall {
  std::string op;                   // the public operator's name
  std::vector<double> options;      // in the order of the packing function
  std::vector<SymInt> output_size;  // PH, PW
};

struct RoiArgs {
  std::vector<Tensor> inputs;  // feature maps, one per level
  Tensor boxes;
  Tensor extra;  // box_indices of crop_and_resize, offset of deform_roi_pool; else undefined
  RoiCall call;
};

// crop_and_resize has its images' numbers in a tensor of their own, normalised boxes, integer
// images and a constant beyond the border.
inline bool is_crop(const RoiCall& call) {
  return call.op == "crop_and_resize";
}
inline double extrapolation_value(const RoiCall& call) {
  return is_crop(call) ? call.options[1] : 0;
}
// For the kernels, those of the boxes' derivatives too: autograd keeps integer images as they are.
RoiArgs with_float_features(RoiArgs args);

using Mean = Tensor(const Tensor& input, const Tensor& boxes, const OptionalTensor& extra,
    SymIntArrayRef output_size, std::string_view op, Options options);
using MeanBackward = Tensor(const Tensor& grad, const Tensor& boxes, const OptionalTensor& extra,
    SymIntArrayRef input_size, std::string_view op, Options options);
using MeanBackwardBoxes = std::tuple<Tensor, Tensor>(const Tensor& grad, const Tensor& input,
    const Tensor& boxes, const OptionalTensor& extra, std::string_view op, Options options);
using MeanJvpBoxes = Tensor(const Tensor& input, const Tensor& boxes, const OptionalTensor& extra,
    const OptionalTensor& boxes_tangent, const OptionalTensor& extra_tangent,
    SymIntArrayRef output_size, std::string_view op, Options options);

const c10::TypedOperatorHandle<Mean>& mean_op();
const c10::TypedOperatorHandle<MeanBackward>& mean_backward_op();
const c10::TypedOperatorHandle<MeanBackwardBoxes>& mean_backward_boxes_op();
const c10::TypedOperatorHandle<MeanJvpBoxes>& mean_jvp_boxes_op();

inline RoiCall to_call(std::string_view op, Options options, SymIntArrayRef output_size) {
  return {std::string(op), options.vec(), output_size.vec()};
}

inline RoiArgs to_args(std::vector<Tensor> inputs, const Tensor& boxes, const OptionalTensor& extra,
    std::string_view op, Options options, SymIntArrayRef output_size) {
  return {std::move(inputs), boxes, extra.value_or(Tensor()), to_call(op, options, output_size)};
}

// The options of multiscale_roi_align: sampling_ratio, aligned, canonical_scale, canonical_level,
// level, spatial_scales. Level is the number of the one map that a private operator is given, or
// kAllLevels.
constexpr size_t kLevelOption = 4;
constexpr double kAllLevels = -1;

// The call of a private operator for one level; for other operators the call itself.
RoiCall call_of_level(const RoiCall& call, size_t level);

// A derivative's output size is that of its gradient, which must have four dimensions.
inline SymIntArrayRef output_size_of(const Tensor& tensor, const char* name, std::string_view op) {
  TORCH_CHECK(tensor.defined() && tensor.dim() == 4, op, ": `", name,
      "` must have shape [K, C, PH, PW], but got ", tensor.sym_sizes(), ".");
  return tensor.sym_sizes().slice(2);
}

// The public operators: their names, and how their arguments become RoiArgs.
struct RoiAlign {
  static constexpr const char* kName = "roi_align";
  static RoiArgs pack(const Tensor& input, const Tensor& rois, double spatial_scale,
      SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio, bool aligned);
};
struct PsRoiAlign {
  static constexpr const char* kName = "ps_roi_align";
  static RoiArgs pack(const Tensor& input, const Tensor& rois, double spatial_scale,
      SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio);
};
struct PsRoiPool {
  static constexpr const char* kName = "ps_roi_pool";
  static RoiArgs pack(const Tensor& input, const Tensor& rois, double spatial_scale,
      SymInt pooled_height, SymInt pooled_width);
};
struct CropAndResize {
  static constexpr const char* kName = "crop_and_resize";
  static RoiArgs pack(const Tensor& image, const Tensor& boxes, const Tensor& box_indices,
      SymInt crop_height, SymInt crop_width, std::string_view method, double extrapolation_value);
};
struct RoiAlignRotated {
  static constexpr const char* kName = "roi_align_rotated";
  static RoiArgs pack(const Tensor& input, const Tensor& rois, double spatial_scale,
      SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio, bool aligned,
      bool clockwise);
};
struct PrRoiPool {
  static constexpr const char* kName = "prroi_pool";
  static RoiArgs pack(const Tensor& input, const Tensor& rois, double spatial_scale,
      SymInt pooled_height, SymInt pooled_width);
};
struct DeformRoiPool {
  static constexpr const char* kName = "deform_roi_pool";
  static RoiArgs pack(const Tensor& input, const Tensor& rois, const OptionalTensor& offset,
      double spatial_scale, SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio,
      double gamma);
};
struct MultiscaleRoiAlign {
  static constexpr const char* kName = "multiscale_roi_align";
  static RoiArgs pack(TensorList features, const Tensor& rois, Options spatial_scales,
      SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio, bool aligned,
      int64_t canonical_scale, int64_t canonical_level);
};

// Calls visit.template operator()<Op>() for every public operator.
template <typename Visit>
void for_each_mean_op(Visit&& visit) {
  visit.template operator()<RoiAlign>();
  visit.template operator()<PsRoiAlign>();
  visit.template operator()<PsRoiPool>();
  visit.template operator()<CropAndResize>();
  visit.template operator()<RoiAlignRotated>();
  visit.template operator()<PrRoiPool>();
  visit.template operator()<DeformRoiPool>();
  visit.template operator()<MultiscaleRoiAlign>();
}

template <typename Signature>
c10::TypedOperatorHandle<Signature> find_op(const std::string& name) {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(("roiops::" + name).c_str(), "");
  return op.typed<Signature>();
}

// A public operator's signature, taken from its packing function.
template <typename Op, typename Pack = decltype(Op::pack)>
struct MeanOp;

template <typename Op, typename... Args>
struct MeanOp<Op, RoiArgs(Args...)> {
  static const auto& handle() {
    static const auto op = find_op<Tensor(Args...)>(Op::kName);
    return op;
  }
  template <typename Backend>
  static Tensor kernel(Args... args) {
    return Backend::mean(with_float_features(Op::pack(std::forward<Args>(args)...)));
  }
};

// A backend has static functions mean, mean_backward, mean_backward_boxes and mean_jvp_boxes on
// unpacked arguments; these are their kernels for the private operators.
template <typename Backend>
struct PrivateOps {
  static Tensor mean(const Tensor& input, const Tensor& boxes, const OptionalTensor& extra,
      SymIntArrayRef output_size, std::string_view op, Options options) {
    return Backend::mean(to_args({input}, boxes, extra, op, options, output_size));
  }
  static Tensor mean_backward(const Tensor& grad, const Tensor& boxes, const OptionalTensor& extra,
      SymIntArrayRef input_size, std::string_view op, Options options) {
    return Backend::mean_backward(
        grad, to_args({}, boxes, extra, op, options, output_size_of(grad, "grad", op)), input_size);
  }
  static std::tuple<Tensor, Tensor> mean_backward_boxes(const Tensor& grad, const Tensor& input,
      const Tensor& boxes, const OptionalTensor& extra, std::string_view op, Options options) {
    return Backend::mean_backward_boxes(grad, with_float_features(to_args({input}, boxes, extra, op,
                                                  options, output_size_of(grad, "grad", op))));
  }
  static Tensor mean_jvp_boxes(const Tensor& input, const Tensor& boxes,
      const OptionalTensor& extra, const OptionalTensor& boxes_tangent,
      const OptionalTensor& extra_tangent, SymIntArrayRef output_size, std::string_view op,
      Options options) {
    return Backend::mean_jvp_boxes(
        with_float_features(to_args({input}, boxes, extra, op, options, output_size)),
        boxes_tangent.value_or(Tensor()), extra_tangent.value_or(Tensor()));
  }
};

// Registers all average-type operators for a backend.
template <typename Backend>
void register_mean_ops(torch::Library& m) {
  for_each_mean_op(
      [&]<typename Op>() { m.impl(Op::kName, &MeanOp<Op>::template kernel<Backend>); });
  m.impl("_mean", &PrivateOps<Backend>::mean);
  m.impl("_mean_backward", &PrivateOps<Backend>::mean_backward);
  m.impl("_mean_backward_boxes", &PrivateOps<Backend>::mean_backward_boxes);
  m.impl("_mean_jvp_boxes", &PrivateOps<Backend>::mean_jvp_boxes);
}

}  // namespace roiops
