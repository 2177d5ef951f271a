// What a library without CUDA kernels says to a CUDA tensor. Registered for the key that the
// kernels would have, so that C++ and saved programs get to read it as well.
#include <no_cuda_reason.h>  // written by CMake

#include "torch/cuda_kernels.h"
#include "torch/max_op.h"
#include "torch/nms_op.h"

namespace roiops {
namespace {

[[noreturn]] void refuse(std::string_view op) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, op,
      ": tensors must be on the CPU, because roiops was built without CUDA kernels (" ROIOPS_NO_CUDA
      "), but got one on a CUDA device.");
}

struct NoCuda {
  static Tensor mean(const RoiArgs& args) {
    refuse(args.call.op);
  }
  static Tensor mean_backward(const Tensor&, const RoiArgs& args, SymIntArrayRef) {
    refuse(args.call.op);
  }
  static std::tuple<Tensor, Tensor> mean_backward_boxes(const Tensor&, const RoiArgs& args) {
    refuse(args.call.op);
  }
  static Tensor mean_jvp_boxes(const RoiArgs& args, const Tensor&, const Tensor&) {
    refuse(args.call.op);
  }
  static std::tuple<Tensor, Tensor> max(const RoiArgs& args) {
    refuse(args.call.op);
  }
  static Tensor max_select(const RoiArgs& args, const Tensor&, const Tensor&) {
    refuse(args.call.op);
  }
  static Tensor max_backward(const Tensor&, const Tensor&, const RoiArgs& args, SymIntArrayRef) {
    refuse(args.call.op);
  }
  static Tensor max_backward_boxes(const Tensor&, const Tensor&, const RoiArgs& args) {
    refuse(args.call.op);
  }
};

struct NoCudaNms {
  static std::tuple<Tensor, Tensor> nms(const NmsArgs& args, double) {
    refuse(args.op);
  }
  static std::tuple<Tensor, Tensor, Tensor> soft_nms(const NmsArgs& args, const SoftNmsOptions&) {
    refuse(args.op);
  }
  static Tensor iou(const IouArgs& args) {
    refuse(args.op);
  }
};

}  // namespace

bool has_cuda_kernels() {
  return false;
}

TORCH_LIBRARY_IMPL(roiops, CUDA, m) {
  register_mean_ops<NoCuda>(m);
  register_max_ops<NoCuda>(m);
  register_nms_ops<NoCudaNms>(m);
}

}  // namespace roiops
