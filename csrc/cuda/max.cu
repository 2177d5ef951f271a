#include "cuda/launch.cuh"

namespace roiops::cuda {

ROIOPS_FOR_EACH_TYPE(ROIOPS_MAX_KERNELS, PixelGeometry)
ROIOPS_FOR_EACH_TYPE(ROIOPS_MAX_KERNELS, RoiAlignGeometry)

}  // namespace roiops::cuda
