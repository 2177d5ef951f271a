// torchvision's operators on the kernels of roiops, on request.
//
// NOTE [torchvision]
// torchvision keeps its schemas, Autograd, Autocast and Meta; only kernels of CPU and CUDA are
// replaced, forward and backward, each of which must therefore keep what the others rely on:
//   * equal dtypes of features and boxes, and contiguous results, which compiled code knows from
//     Meta before it runs;
//   * what forward saves for backward: argmax is the same number in both libraries, and
//     channel_mapping, which our backward does not need, is written out. So a graph that was made
//     before patching can be walked after it, and the other way round.
// The last registration for a key wins, and destroying a torch::Library takes its own back. Hence
// torchvision must be loaded first; what is registered later than a patch hides it.
#include <roiops/roiops.h>

#include <mutex>

#include <torch/csrc/jit/frontend/function_schema_parser.h>

#include "torch/cuda_kernels.h"
#include "torch/max_op.h"
#include "torch/nms_op.h"

namespace roiops {
namespace {

// What has led to a kernel, here a backend. Redispatched with it, our operators run on that
// backend, below their own Autograd.
using Keys = c10::DispatchKeySet;

void check_same_type(const char* op, const char* name, const Tensor& tensor, const Tensor& rois) {
  TORCH_CHECK(tensor.scalar_type() == rois.scalar_type(), "torchvision::", op, ": `rois` must be ",
      c10::getDtypeNames(tensor.scalar_type()).first, " as `", name, "`, but got ",
      c10::getDtypeNames(rois.scalar_type()).first, ".");
}

// A new result, with the strides of a contiguous tensor even where a size of one leaves them open.
Tensor as_contiguous(const Tensor& result) {
  Tensor contiguous = result.contiguous();
  contiguous.unsafeGetTensorImpl()->empty_tensor_restride(at::MemoryFormat::Contiguous);
  return contiguous;
}

Tensor roi_align_kernel(Keys keys, const Tensor& input, const Tensor& rois, double spatial_scale,
    SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio, bool aligned) {
  check_same_type("roi_align", "input", input, rois);
  return as_contiguous(MeanOp<RoiAlign>::handle().redispatch(
      keys, input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned));
}

Tensor mean_backward(Keys keys, const Tensor& grad, const Tensor& rois, const RoiCall& call,
    SymIntArrayRef input_size) {
  check_same_type(("_" + call.op + "_backward").c_str(), "grad", grad, rois);
  return as_contiguous(mean_backward_op().redispatch(
      keys, grad, rois, std::nullopt, input_size, call.op, call.options));
}

Tensor roi_align_backward_kernel(Keys keys, const Tensor& grad, const Tensor& rois,
    double spatial_scale, SymInt pooled_height, SymInt pooled_width, SymInt batch_size,
    SymInt channels, SymInt height, SymInt width, int64_t sampling_ratio, bool aligned) {
  const RoiCall call =
      RoiAlign::pack({}, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)
          .call;
  return mean_backward(keys, grad, rois, call, {batch_size, channels, height, width});
}

// Output channel c at bin (p, q) reads input channel (c * PH + p) * PW + q.
Tensor channel_mapping(const Tensor& output) {
  const at::TensorOptions options = output.options().dtype(at::kInt);
  const at::IntArrayRef of_roi = output.sizes().slice(1);
  const Tensor channels = at::arange(c10::multiply_integers(of_roi), options).view(of_roi);
  return at::empty(output.sizes(), options).copy_(channels);
}

std::tuple<Tensor, Tensor> ps_roi_align_kernel(Keys keys, const Tensor& input, const Tensor& rois,
    double spatial_scale, SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio) {
  check_same_type("ps_roi_align", "input", input, rois);
  const Tensor output = MeanOp<PsRoiAlign>::handle().redispatch(
      keys, input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio);
  return {as_contiguous(output), channel_mapping(output)};
}

Tensor ps_roi_align_backward_kernel(Keys keys, const Tensor& grad, const Tensor& rois,
    const Tensor& /*channel_mapping*/, double spatial_scale, SymInt pooled_height,
    SymInt pooled_width, int64_t sampling_ratio, SymInt batch_size, SymInt channels, SymInt height,
    SymInt width) {
  const RoiCall call =
      PsRoiAlign::pack({}, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio).call;
  return mean_backward(keys, grad, rois, call, {batch_size, channels, height, width});
}

std::tuple<Tensor, Tensor> roi_pool_kernel(Keys keys, const Tensor& input, const Tensor& rois,
    double spatial_scale, SymInt pooled_height, SymInt pooled_width) {
  check_same_type("roi_pool", "input", input, rois);
  const auto [values, argmax] = MaxOp<RoiPool>::handle().redispatch(
      keys, input, rois, spatial_scale, pooled_height, pooled_width);
  return {as_contiguous(values), as_contiguous(argmax)};
}

Tensor roi_pool_backward_kernel(Keys keys, const Tensor& grad, const Tensor& rois,
    const Tensor& argmax, double spatial_scale, SymInt pooled_height, SymInt pooled_width,
    SymInt batch_size, SymInt channels, SymInt height, SymInt width) {
  check_same_type("_roi_pool_backward", "grad", grad, rois);
  const RoiCall call = RoiPool::pack({}, rois, spatial_scale, pooled_height, pooled_width).call;
  const std::vector<SymInt> input_size = {batch_size, channels, height, width};
  return as_contiguous(
      max_backward_op().redispatch(keys, grad, argmax, rois, input_size, call.op, call.options));
}

// Nothing is above a threshold that no IoU reaches, or above NaN.
Tensor nms_kernel(Keys keys, const Tensor& dets, const Tensor& scores, double iou_threshold) {
  TORCH_CHECK(dets.scalar_type() == scores.scalar_type(), "torchvision::nms: `scores` must be ",
      c10::getDtypeNames(dets.scalar_type()).first, " as `dets`, but got ",
      c10::getDtypeNames(scores.scalar_type()).first, ".");
  TORCH_CHECK(dets.dim() == 2 && dets.size(1) == 4,
      "torchvision::nms: `dets` must have shape [N, 4], ", "but got ", dets.sizes(), ".");
  TORCH_CHECK(!(iou_threshold < 0), "torchvision::nms: `iou_threshold` must not be negative, ",
      "but got ", iou_threshold, ".");
  const double threshold = iou_threshold <= 1 ? iou_threshold : 1;
  const auto [numbers, count] = nms_padded_op().redispatch(
      keys, dets, scores, threshold, dets.sym_size(0), std::nullopt, std::nullopt, false);
  return numbers.narrow(0, 0, count.item<int64_t>());
}

// Calls visit(schema, kernel). ps_roi_pool is not among them: torchvision's never reads the last
// row and column, so that a model trained with it would change.
template <typename Visit>
void for_each_replacement(Visit&& visit) {
  visit(
      "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
      &roi_align_kernel);
  visit(
      "_roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, SymInt batch_size, SymInt channels, SymInt height, SymInt width, "
      "int sampling_ratio, bool aligned) -> Tensor",
      &roi_align_backward_kernel);
  visit(
      "ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio) -> (Tensor, Tensor)",
      &ps_roi_align_kernel);
  visit(
      "_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor channel_mapping, "
      "float spatial_scale, SymInt pooled_height, SymInt pooled_width, int sampling_ratio, "
      "SymInt batch_size, SymInt channels, SymInt height, SymInt width) -> Tensor",
      &ps_roi_align_backward_kernel);
  visit(
      "roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width) -> (Tensor, Tensor)",
      &roi_pool_kernel);
  visit(
      "_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, float spatial_scale, "
      "SymInt pooled_height, SymInt pooled_width, SymInt batch_size, SymInt channels, "
      "SymInt height, SymInt width) -> Tensor",
      &roi_pool_backward_kernel);
  visit("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", &nms_kernel);
}

// The kernels would be called with arguments in this order, whatever the names say.
void check_schema(const std::string& schema) {
  const c10::FunctionSchema expected = torch::jit::parseSchema("torchvision::" + schema);
  const auto found = c10::Dispatcher::singleton().findSchema(expected.operator_name());
  TORCH_CHECK(found, "patch_torchvision: torchvision's operators must be loaded, but there is no ",
      expected.name(), ". Load torchvision's library first.");
  TORCH_CHECK(found->schema() == expected, "patch_torchvision: torchvision's operator must be ",
      expected, ", but got ", found->schema(), ". This version of torchvision is not known.");
}

// PyTorch warns of an overridden kernel.
struct Quiet : c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

torch::Library patch_of(c10::DispatchKey key) {
  torch::Library library(torch::Library::IMPL, "torchvision", key, __FILE__, __LINE__);
  for_each_replacement([&](const std::string& schema, auto* kernel) {
    library.impl(schema.substr(0, schema.find('(')).c_str(), kernel);
  });
  return library;
}

struct Patches {
  std::mutex mutex;
  std::vector<torch::Library> libraries;  // one per dispatch key; they live as long as the patch
};

Patches& patches() {
  static Patches patches;
  return patches;
}

}  // namespace

void patch_torchvision() {
  Patches& state = patches();
  const std::lock_guard lock(state.mutex);
  if (!state.libraries.empty()) {
    return;
  }
  for_each_replacement([](const std::string& schema, auto*) { check_schema(schema); });
  Quiet quiet;
  const c10::WarningUtils::WarningHandlerGuard guard(&quiet);
  std::vector<torch::Library> libraries;
  libraries.push_back(patch_of(c10::DispatchKey::CPU));
  if (has_cuda_kernels()) {
    libraries.push_back(patch_of(c10::DispatchKey::CUDA));
  }
  state.libraries = std::move(libraries);
}

void unpatch_torchvision() {
  Patches& state = patches();
  const std::lock_guard lock(state.mutex);
  state.libraries.clear();
}

// Python's way in: errors arrive as exceptions. In a namespace of its own, because it is a switch
// and no operator on tensors.
TORCH_LIBRARY(roiops_torchvision, m) {
  m.def("patch() -> ()", &patch_torchvision);
  m.def("unpatch() -> ()", &unpatch_torchvision);
}

}  // namespace roiops
