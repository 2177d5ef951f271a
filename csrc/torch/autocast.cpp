// Autocast. Our kernels take 16-bit features beside float boxes and accumulate in float, so the
// feature map keeps its dtype; only 16-bit boxes are widened.
#include <ATen/autocast_mode.h>
#include <torch/library.h>

#include "torch/ops.h"

namespace roiops {
namespace {

at::Tensor roi_align_autocast(const at::Tensor& input, const at::Tensor& rois, double spatial_scale,
    c10::SymInt pooled_height, c10::SymInt pooled_width, int64_t sampling_ratio, bool aligned) {
  const c10::impl::ExcludeDispatchKeyGuard guard(c10::autocast_dispatch_keyset);
  const auto boxes = at::autocast::cached_cast(at::kFloat, rois, input.device().type());
  return roi_align_op().call(input, boxes, spatial_scale, std::move(pooled_height),
      std::move(pooled_width), sampling_ratio, aligned);
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, AutocastCPU, m) {
  m.impl("roi_align", TORCH_FN(roi_align_autocast));
}
TORCH_LIBRARY_IMPL(roiops, AutocastCUDA, m) {
  m.impl("roi_align", TORCH_FN(roi_align_autocast));
}

}  // namespace roiops
