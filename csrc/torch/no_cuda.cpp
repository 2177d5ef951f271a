// What a library without CUDA kernels says to a CUDA tensor. Registered for the key that the
// kernels would have, so that C++ and saved programs get to read it as well.
#include <no_cuda_reason.h>  // written by CMake

#include "torch/cuda_kernels.h"
#include "torch/max_op.h"

namespace roiops {
namespace {

[[noreturn]] void refuse(const RoiArgs& args) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, args.call.op,
      ": tensors must be on the CPU, because roiops was built without CUDA kernels (" ROIOPS_NO_CUDA
      "), but got one on a CUDA device.");
}

struct NoCuda {
  static Tensor mean(const RoiArgs& args) {
    refuse(args);
  }
  static Tensor mean_backward(const Tensor&, const RoiArgs& args, SymIntArrayRef) {
    refuse(args);
  }
  static std::tuple<Tensor, Tensor> mean_backward_boxes(const Tensor&, const RoiArgs& args) {
    refuse(args);
  }
  static Tensor mean_jvp_boxes(const RoiArgs& args, const Tensor&, const Tensor&) {
    refuse(args);
  }
  static std::tuple<Tensor, Tensor> max(const RoiArgs& args) {
    refuse(args);
  }
  static Tensor max_select(const RoiArgs& args, const Tensor&, const Tensor&) {
    refuse(args);
  }
  static Tensor max_backward(const Tensor&, const Tensor&, const RoiArgs& args, SymIntArrayRef) {
    refuse(args);
  }
  static Tensor max_backward_boxes(const Tensor&, const Tensor&, const RoiArgs& args) {
    refuse(args);
  }
};

}  // namespace

bool has_cuda_kernels() {
  return false;
}

TORCH_LIBRARY_IMPL(roiops, CUDA, m) {
  register_mean_ops<NoCuda>(m);
  register_max_ops<NoCuda>(m);
}

}  // namespace roiops
