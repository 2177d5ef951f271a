#include "torch/check.h"

#include <cmath>

namespace roiops {
namespace {

// 65536 samples per bin and axis are far beyond any use, and keep the work per bin bounded.
constexpr int64_t kMaxSamplingRatio = int64_t{1} << 16;

bool is_supported(at::ScalarType type) {
  return type == at::kDouble || type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
}

void check_tensor(const std::string& op, const char* name, const Tensor& tensor) {
  TORCH_CHECK(tensor.defined(), op, ": `", name, "` must be a tensor, but got an undefined one.");
  TORCH_CHECK(is_supported(tensor.scalar_type()), op, ": `", name,
      "` must be float64, float32, float16 or bfloat16, but got ",
      c10::getDtypeNames(tensor.scalar_type()).first, ".");
}

void check_maps(const std::string& op, const char* name, const char* shape, const Tensor& tensor) {
  check_tensor(op, name, tensor);
  TORCH_CHECK(tensor.dim() == 4, op, ": `", name, "` must have shape ", shape, ", but got ",
      tensor.sym_sizes(), ".");
}

void check_same_device(const std::string& op, const char* name, const Tensor& tensor,
    const char* other_name, const Tensor& other) {
  TORCH_CHECK(tensor.device() == other.device(), op, ": `", name, "` must be on the device of `",
      other_name, "` (", other.device(), "), but got ", tensor.device(), ".");
}

void check_boxes(const std::string& op, const Tensor& boxes) {
  check_tensor(op, "boxes", boxes);
  TORCH_SYM_CHECK(boxes.dim() == 2 ? boxes.sym_size(1).sym_eq(5) : c10::SymBool(false), op,
      ": `boxes` must have shape [K, 5] (image, x1, y1, x2, y2), but got ", boxes.sym_sizes(),
      ". For per-image boxes pass a list of Tensor[L, 4].");
}

// Options travel as doubles; messages show the integer that the caller gave.
int64_t as_integer(double option) {
  return option < 9e18 ? static_cast<int64_t>(option) : std::numeric_limits<int64_t>::max();
}

void check_sampling(const MeanCall& call) {
  const double scale = call.options[0], ratio = call.options[1];
  TORCH_CHECK(std::isfinite(scale) && scale > 0, call.op,
      ": `spatial_scale` must be positive and finite, but got ", scale, ".");
  TORCH_CHECK(ratio <= static_cast<double>(kMaxSamplingRatio), call.op,
      ": `sampling_ratio` must be at most ", kMaxSamplingRatio, ", but got ", as_integer(ratio),
      ".");
}

// The private operators take the operator's name and options from anywhere.
void check_call(const MeanCall& call) {
  TORCH_CHECK(call.op == "roi_align", call.op,
      ": `op` must name an average-type operator of roiops, but got ", call.op, ".");
  TORCH_CHECK(call.options.size() == 3, call.op, ": `options` must have 3 elements, but got ",
      call.options.size(), ".");
  check_sampling(call);
  TORCH_CHECK(call.output_size.size() == 2, call.op,
      ": `output_size` must have 2 elements, but got ", call.output_size.size(), ".");
  TORCH_SYM_CHECK(call.output_size[0].sym_gt(0).sym_and(call.output_size[1].sym_gt(0)), call.op,
      ": `output_size` must be positive, but got ", c10::SymIntArrayRef(call.output_size), ".");
}

void check_input_and_boxes(const Tensor& input, const Tensor& boxes, const MeanCall& call) {
  check_maps(call.op, "input", "[N, C, H, W]", input);
  check_boxes(call.op, boxes);
  check_same_device(call.op, "boxes", boxes, "input", input);
  check_call(call);
}

void check_shape(const std::string& op, const char* name, const char* letters, const Tensor& tensor,
    c10::SymIntArrayRef expected) {
  c10::SymBool same = tensor.dim() == static_cast<int64_t>(expected.size());
  for (int64_t d = 0; d < tensor.dim() && d < static_cast<int64_t>(expected.size()); ++d) {
    same = same.sym_and(tensor.sym_size(d).sym_eq(expected[d]));
  }
  TORCH_SYM_CHECK(same, op, ": `", name, "` must have shape ", letters, expected, ", but got ",
      tensor.sym_sizes(), ".");
}

void check_grad(
    const Tensor& grad, const Tensor& boxes, const c10::SymInt& channels, const MeanCall& call) {
  const c10::SymInt expected[] = {
      boxes.sym_size(0), channels, call.output_size[0], call.output_size[1]};
  check_shape(call.op, "grad", "[K, C, PH, PW] = ", grad, expected);
}

Tensor new_output(const Tensor& input, const Tensor& boxes, const MeanCall& call) {
  return at::empty_symint(
      {boxes.sym_size(0), input.sym_size(1), call.output_size[0], call.output_size[1]},
      input.options().memory_format(input.suggest_memory_format()));
}

}  // namespace

SamplingOptions sampling_options(const MeanCall& call) {
  return {
      call.options[0], static_cast<int32_t>(std::max(call.options[1], 0.0)), call.options[2] != 0};
}

MeanCall unpack_grad(const Tensor& grad, std::string_view op, at::ArrayRef<double> options) {
  check_maps(std::string(op), "grad", "[K, C, PH, PW]", grad);
  return unpack(grad.sym_sizes().slice(2), op, options);
}

Tensor prepare_mean(const Tensor& input, const Tensor& boxes, const MeanCall& call) {
  check_input_and_boxes(input, boxes, call);
  return new_output(input, boxes, call);
}

Tensor prepare_mean_backward(
    const Tensor& grad, const Tensor& boxes, c10::SymIntArrayRef input_size, const MeanCall& call) {
  check_boxes(call.op, boxes);
  check_call(call);
  TORCH_CHECK(input_size.size() == 4, call.op, ": `input_size` must have 4 elements, but got ",
      input_size.size(), ".");
  for (const c10::SymInt& size : input_size) {
    TORCH_SYM_CHECK(
        size.sym_ge(0), call.op, ": `input_size` must not be negative, but got ", input_size, ".");
  }
  check_grad(grad, boxes, input_size[1], call);
  check_same_device(call.op, "boxes", boxes, "grad", grad);
  return at::empty_symint(input_size, grad.options().memory_format(grad.suggest_memory_format()));
}

Tensor prepare_mean_backward_boxes(
    const Tensor& grad, const Tensor& input, const Tensor& boxes, const MeanCall& call) {
  check_input_and_boxes(input, boxes, call);
  check_grad(grad, boxes, input.sym_size(1), call);
  check_same_device(call.op, "grad", grad, "input", input);
  TORCH_CHECK(grad.scalar_type() == input.scalar_type(), call.op, ": `grad` must be ",
      c10::getDtypeNames(input.scalar_type()).first, " as `input`, but got ",
      c10::getDtypeNames(grad.scalar_type()).first, ".");
  return at::empty_symint(boxes.sym_sizes(), boxes.options());
}

Tensor prepare_mean_jvp_boxes(
    const Tensor& input, const Tensor& boxes, const Tensor& tangent, const MeanCall& call) {
  check_input_and_boxes(input, boxes, call);
  check_tensor(call.op, "tangent", tangent);
  check_same_device(call.op, "tangent", tangent, "input", input);
  check_shape(call.op, "tangent", "", tangent, boxes.sym_sizes());
  return new_output(input, boxes, call);
}

}  // namespace roiops
