#include "cuda/launch.cuh"

namespace roiops::cuda {

template <typename T>
using Taps = SeparableBlockTaps<RoiAlignGeometry<T>>;

ROIOPS_FOR_EACH_TYPE(ROIOPS_MEAN_KERNELS, Taps)

}  // namespace roiops::cuda
