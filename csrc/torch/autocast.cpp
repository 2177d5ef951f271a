// Autocast. Our kernels take 16-bit features beside float boxes and accumulate in float, so the
// feature map keeps its dtype; only 16-bit boxes are widened.
#include <ATen/autocast_mode.h>
#include <torch/library.h>

#include "torch/mean_op.h"

namespace roiops {
namespace {

template <typename Op, typename Pack = decltype(Op::pack)>
struct Autocast;

template <typename Op, typename... Options>
struct Autocast<Op, MeanCall(Options...)> {
  static Tensor kernel(const Tensor& input, const Tensor& rois, Options... options) {
    const c10::impl::ExcludeDispatchKeyGuard guard(c10::autocast_dispatch_keyset);
    const auto boxes = at::autocast::cached_cast(at::kFloat, rois, input.device().type());
    return MeanOp<Op>::handle().call(input, boxes, std::move(options)...);
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(roiops, AutocastCPU, m) {
  m.impl("roi_align", TORCH_FN(Autocast<RoiAlign>::kernel));
}
TORCH_LIBRARY_IMPL(roiops, AutocastCUDA, m) {
  m.impl("roi_align", TORCH_FN(Autocast<RoiAlign>::kernel));
}

}  // namespace roiops
