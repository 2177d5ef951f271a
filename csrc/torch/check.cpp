#include "torch/check.h"

#include <cmath>

namespace roiops {
namespace {

// 65536 samples per bin and axis are far beyond any use, and keep the work per bin bounded.
constexpr int64_t kMaxSamplingRatio = int64_t{1} << 16;

bool is_supported(at::ScalarType type) {
  return type == at::kDouble || type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
}

void check_tensor(const char* op, const char* name, const at::Tensor& tensor) {
  TORCH_CHECK(tensor.defined(), op, ": `", name, "` must be a tensor, but got an undefined one.");
  TORCH_CHECK(is_supported(tensor.scalar_type()), op, ": `", name,
      "` must be float64, float32, float16 or bfloat16, but got ",
      c10::getDtypeNames(tensor.scalar_type()).first, ".");
}

void check_maps(const char* op, const char* name, const char* shape, const at::Tensor& tensor) {
  check_tensor(op, name, tensor);
  TORCH_CHECK(tensor.dim() == 4, op, ": `", name, "` must have shape ", shape, ", but got ",
      tensor.sym_sizes(), ".");
}

void check_device(
    const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input) {
  TORCH_CHECK(tensor.device() == input.device(), op, ": `", name,
      "` must be on the device of `input` (", input.device(), "), but got ", tensor.device(), ".");
}

void check_boxes(const char* op, const at::Tensor& rois) {
  check_tensor(op, "boxes", rois);
  const bool matrix = rois.dim() == 2;
  TORCH_SYM_CHECK(matrix ? rois.sym_size(1).sym_eq(5) : c10::SymBool(false), op,
      ": `boxes` must have shape [K, 5] (image, x1, y1, x2, y2), but got ", rois.sym_sizes(),
      ". For per-image boxes pass a list of Tensor[L, 4].");
}

}  // namespace

void check_input_and_boxes(const char* op, const at::Tensor& input, const at::Tensor& rois) {
  check_maps(op, "input", "[N, C, H, W]", input);
  check_boxes(op, rois);
  check_device(op, "boxes", rois, input);
}

void check_args(const char* op, const RoiAlignArgs<c10::SymInt>& args) {
  TORCH_CHECK(std::isfinite(args.spatial_scale) && args.spatial_scale > 0, op,
      ": `spatial_scale` must be positive and finite, but got ", args.spatial_scale, ".");
  TORCH_SYM_CHECK(args.pooled_height.sym_gt(0).sym_and(args.pooled_width.sym_gt(0)), op,
      ": `output_size` must be positive, but got [", args.pooled_height, ", ", args.pooled_width,
      "].");
  TORCH_CHECK(args.sampling_ratio <= kMaxSamplingRatio, op, ": `sampling_ratio` must be at most ",
      kMaxSamplingRatio, ", but got ", args.sampling_ratio, ".");
}

void check_grad(const char* op, const at::Tensor& grad, const at::Tensor& rois,
    const c10::SymInt& channels, const RoiAlignArgs<c10::SymInt>& args) {
  check_maps(op, "grad", "[K, C, PH, PW]", grad);
  const c10::SymInt expected[] = {
      rois.sym_size(0), channels, args.pooled_height, args.pooled_width};
  for (int64_t d = 0; d < 4; ++d) {
    TORCH_SYM_CHECK(grad.sym_size(d).sym_eq(expected[d]), op,
        ": `grad` must have shape [K, C, PH, PW] = ", c10::SymIntArrayRef(expected), ", but got ",
        grad.sym_sizes(), ".");
  }
}

at::Tensor new_output(
    const at::Tensor& input, const at::Tensor& rois, const RoiAlignArgs<c10::SymInt>& args) {
  return at::empty_symint(
      {rois.sym_size(0), input.sym_size(1), args.pooled_height, args.pooled_width},
      input.options().memory_format(input.suggest_memory_format()));
}

at::Tensor prepare_roi_align(const char* op, const at::Tensor& input, const at::Tensor& rois,
    const RoiAlignArgs<c10::SymInt>& args) {
  check_input_and_boxes(op, input, rois);
  check_args(op, args);
  return new_output(input, rois, args);
}

at::Tensor prepare_roi_align_backward(const char* op, const at::Tensor& grad,
    const at::Tensor& rois, const RoiAlignArgs<c10::SymInt>& args, c10::SymIntArrayRef input_size) {
  check_boxes(op, rois);
  check_args(op, args);
  for (const c10::SymInt& size : input_size) {
    TORCH_SYM_CHECK(size.sym_ge(0), op, ": the size of the input must not be negative, but got ",
        input_size, ".");
  }
  check_grad(op, grad, rois, input_size[1], args);
  TORCH_CHECK(grad.device() == rois.device(), op, ": `boxes` must be on the device of `grad` (",
      grad.device(), "), but got ", rois.device(), ".");
  return at::empty_symint(input_size, grad.options().memory_format(grad.suggest_memory_format()));
}

at::Tensor prepare_roi_align_backward_rois(const char* op, const at::Tensor& grad,
    const at::Tensor& input, const at::Tensor& rois, const RoiAlignArgs<c10::SymInt>& args) {
  check_input_and_boxes(op, input, rois);
  check_args(op, args);
  check_grad(op, grad, rois, input.sym_size(1), args);
  check_device(op, "grad", grad, input);
  TORCH_CHECK(grad.scalar_type() == input.scalar_type(), op, ": `grad` must be ",
      c10::getDtypeNames(input.scalar_type()).first, " as `input`, but got ",
      c10::getDtypeNames(grad.scalar_type()).first, ".");
  return at::empty_symint(rois.sym_sizes(), rois.options());
}

at::Tensor prepare_roi_align_jvp_rois(const char* op, const at::Tensor& input,
    const at::Tensor& rois, const at::Tensor& tangent, const RoiAlignArgs<c10::SymInt>& args) {
  check_input_and_boxes(op, input, rois);
  check_args(op, args);
  check_tensor(op, "tangent", tangent);
  check_device(op, "tangent", tangent, input);
  const bool matrix = tangent.dim() == 2;
  TORCH_SYM_CHECK(matrix ? tangent.sym_size(0)
                               .sym_eq(rois.sym_size(0))
                               .sym_and(tangent.sym_size(1).sym_eq(rois.sym_size(1)))
                         : c10::SymBool(false),
      op, ": `tangent` must have shape ", rois.sym_sizes(), ", but got ", tangent.sym_sizes(), ".");
  return new_output(input, rois, args);
}

}  // namespace roiops
