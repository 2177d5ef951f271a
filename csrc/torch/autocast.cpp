// Autocast. Our kernels take 16-bit features beside float boxes and accumulate in float, so the
// feature map keeps its dtype; only 16-bit boxes are widened.
#include <ATen/autocast_mode.h>

#include "torch/max_op.h"

namespace roiops {
namespace {

template <typename Op, typename Pack = decltype(Op::pack)>
struct Autocast;

// Every operator has its features first and its boxes second.
template <typename Op, typename Input, typename... Args>
struct Autocast<Op, RoiArgs(Input, const Tensor&, Args...)> {
  template <template <typename, typename> class Family>
  static auto kernel(Input input, const Tensor& boxes, Args... args) {
    const c10::impl::ExcludeDispatchKeyGuard guard(c10::autocast_dispatch_keyset);
    const Tensor wide = at::autocast::cached_cast(at::kFloat, boxes, boxes.device().type());
    return Family<Op, decltype(Op::pack)>::handle().call(input, wide, std::forward<Args>(args)...);
  }
};

void register_autocast(torch::Library& m) {
  for_each_mean_op(
      [&]<typename Op>() { m.impl(Op::kName, &Autocast<Op>::template kernel<MeanOp>); });
  for_each_max_op([&]<typename Op>() { m.impl(Op::kName, &Autocast<Op>::template kernel<MaxOp>); });
  // These compute in float32, or float64, whatever they are given.
  for (const char* op : {"nms_padded", "soft_nms_padded", "box_iou", "box_iou_rotated"}) {
    m.impl(op, torch::CppFunction::makeFallthrough());
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, AutocastCPU, m) {
  register_autocast(m);
}
TORCH_LIBRARY_IMPL(roiops, AutocastCUDA, m) {
  register_autocast(m);
}

}  // namespace roiops
