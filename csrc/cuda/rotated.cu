#include "cuda/launch.cuh"

namespace roiops::cuda {

ROIOPS_FOR_EACH_TYPE(ROIOPS_MEAN_KERNELS, RotatedBlockTaps)

}  // namespace roiops::cuda
