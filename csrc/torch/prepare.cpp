#include "torch/prepare.h"

#include "torch/check.h"

namespace roiops {

at::MemoryFormat format_of(const Tensor& tensor) {
  SymInt least = 0;
  for (const int64_t d : {1, 3, 2, 0}) {
    const SymInt stride = tensor.sym_stride(d), size = tensor.sym_size(d);
    const bool falls = TORCH_GUARD_OR_FALSE(stride.sym_lt(least));
    // A size of one makes both formats fit: contiguous wins.
    const bool ambiguous = d == 0 && TORCH_GUARD_OR_FALSE(least.sym_eq(tensor.sym_stride(1)));
    if (falls || ambiguous || (d == 1 && TORCH_GUARD_OR_FALSE(stride.sym_eq(0)))) {
      return at::MemoryFormat::Contiguous;
    }
    least = stride * size.max(1);
  }
  return at::MemoryFormat::ChannelsLast;
}

namespace {

// Channels of the output for those of the input.
SymInt output_channels(const RoiCall& call, const Rule& rule, const SymInt& channels) {
  if (!rule.position_sensitive) {
    return channels;
  }
  const SymInt &height = call.output_size[0], &width = call.output_size[1];
  const SymInt bins = height * width;
  TORCH_SYM_CHECK((channels % bins).sym_eq(0), call.op, ": the channels of `", rule.input,
      "` must be a multiple of ", height, " * ", width, " = ", bins, ", but got ", channels, ".");
  return channels / bins;
}

Tensor new_output(const RoiArgs& args, const Rule& rule) {
  const Tensor& input = args.inputs[0];
  return at::empty_symint(
      {args.boxes.sym_size(0), output_channels(args.call, rule, input.sym_size(1)),
          args.call.output_size[0], args.call.output_size[1]},
      input.options().memory_format(format_of(input)));
}

void check_grad(const Tensor& grad, const RoiArgs& args, const Rule& rule, const SymInt& channels) {
  check_tensor(args.call.op, "grad", grad);
  check_shape(args.call.op, "grad", "[K, C, PH, PW] = ", grad,
      {args.boxes.sym_size(0), output_channels(args.call, rule, channels), args.call.output_size[0],
          args.call.output_size[1]});
}

void check_tangent(
    const RoiCall& call, const char* name, const Tensor& tangent, const Tensor& primal) {
  if (tangent.defined()) {
    TORCH_CHECK(primal.defined() && at::isFloatingType(primal.scalar_type()), call.op, ": `", name,
        "` must be None, but got a tensor.");
    check_tensor(call.op, name, tangent);
    check_device(call.op, name, tangent, "boxes", primal);
    check_shape(call.op, name, "", tangent, primal.sym_sizes());
  }
}

Tensor new_like(const Tensor& tensor) {
  return at::empty_symint(tensor.sym_sizes(), tensor.options());
}

// A gradient's shape, and its dtype and device beside the features.
void check_grad_and_input(const Tensor& grad, const RoiArgs& args, const Rule& rule) {
  const Tensor& input = args.inputs[0];
  check_grad(grad, args, rule, input.sym_size(1));
  check_device(args.call.op, "grad", grad, rule.input, input);
  TORCH_CHECK(grad.scalar_type() == input.scalar_type(), args.call.op, ": `grad` must be ",
      c10::getDtypeNames(input.scalar_type()).first, " as `", rule.input, "`, but got ",
      c10::getDtypeNames(grad.scalar_type()).first, ".");
}

void check_argmax(const RoiArgs& args, const Tensor& argmax, const SymInt& channels) {
  const std::string& op = args.call.op;
  TORCH_CHECK(argmax.defined() && argmax.scalar_type() == at::kInt, op,
      ": `argmax` must be int32, but got ",
      argmax.defined() ? c10::getDtypeNames(argmax.scalar_type()).first : "an undefined tensor",
      ".");
  check_device(op, "argmax", argmax, "boxes", args.boxes);
  check_shape(op, "argmax", "[K, C, PH, PW] = ", argmax,
      {args.boxes.sym_size(0), channels, args.call.output_size[0], args.call.output_size[1]});
}

// The gradient of a map of the given size.
Tensor new_map(
    const Tensor& grad, const RoiArgs& args, const Rule& rule, SymIntArrayRef input_size) {
  const std::string& op = args.call.op;
  TORCH_CHECK(input_size.size() == 4, op, ": `input_size` must have 4 elements, but got ",
      input_size.size(), ".");
  for (const SymInt& size : input_size) {
    TORCH_SYM_CHECK(
        size.sym_ge(0), op, ": `input_size` must not be negative, but got ", input_size, ".");
  }
  check_map_area(op, rule.input, input_size[2], input_size[3]);
  check_grad(grad, args, rule, input_size[1]);
  check_device(op, "boxes", args.boxes, "grad", grad);
  return at::empty_symint(input_size, grad.options().memory_format(format_of(grad)));
}

}  // namespace

SamplingOptions sampling_options(const RoiCall& call) {
  const Rule& rule = rule_of(call.op);
  const double ratio = call.options[rule.ratio];
  // The operators that have no such option sample between pixel centres.
  const size_t aligned = rule.ratio + 1;
  const bool has_flag = call.op != "ps_roi_align" && call.op != "deform_roi_pool";
  return {rule.scale >= 0 ? call.options[rule.scale] : 1.0,
      static_cast<int32_t>(std::max(ratio, 0.0)), !has_flag || call.options[aligned] != 0};
}

bool is_position_sensitive(const RoiCall& call) {
  return rule_of(call.op).position_sensitive;
}

Tensor prepare_mean(const RoiArgs& args) {
  return new_output(args, check_args(args, Reduction::kMean));
}

Tensor prepare_mean_backward(const Tensor& grad, const RoiArgs& args, SymIntArrayRef input_size) {
  const Rule& rule = check_boxes(args, Reduction::kMean);
  if (rule.levels) {
    check_levels(args.call, 1);
  }
  return new_map(grad, args, rule, input_size);
}

std::tuple<Tensor, Tensor> prepare_mean_backward_boxes(const Tensor& grad, const RoiArgs& args) {
  const Rule& rule = check_args(args, Reduction::kMean);
  check_grad_and_input(grad, args, rule);
  const bool by_extra = rule.extra == Extra::kOffset && args.extra.defined();
  return {
      new_like(args.boxes), by_extra ? new_like(args.extra) : at::empty({0}, args.boxes.options())};
}

Tensor prepare_mean_jvp_boxes(
    const RoiArgs& args, const Tensor& boxes_tangent, const Tensor& extra_tangent) {
  const Rule& rule = check_args(args, Reduction::kMean);
  check_tangent(args.call, "boxes_tangent", boxes_tangent, args.boxes);
  check_tangent(args.call, "extra_tangent", extra_tangent, args.extra);
  return new_output(args, rule);
}

std::tuple<Tensor, Tensor> prepare_max(const RoiArgs& args) {
  const Tensor values = new_output(args, check_args(args, Reduction::kMax));
  return {values, at::empty_like(values, values.options().dtype(at::kInt))};
}

Tensor prepare_max_select(const RoiArgs& args, const Tensor& argmax, const Tensor& boxes_tangent) {
  const Rule& rule = check_args(args, Reduction::kMax);
  check_argmax(args, argmax, args.inputs[0].sym_size(1));
  check_tangent(args.call, "boxes_tangent", boxes_tangent, args.boxes);
  return new_output(args, rule);
}

Tensor prepare_max_backward(
    const Tensor& grad, const Tensor& argmax, const RoiArgs& args, SymIntArrayRef input_size) {
  const Tensor result = new_map(grad, args, check_boxes(args, Reduction::kMax), input_size);
  check_argmax(args, argmax, input_size[1]);
  return result;
}

Tensor prepare_max_backward_boxes(const Tensor& grad, const Tensor& argmax, const RoiArgs& args) {
  check_grad_and_input(grad, args, check_args(args, Reduction::kMax));
  check_argmax(args, argmax, args.inputs[0].sym_size(1));
  return new_like(args.boxes);
}

}  // namespace roiops
