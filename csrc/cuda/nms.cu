#include "cuda/launch.cuh"

namespace roiops::cuda {

#define ROIOPS_BOX_KERNELS(T, KIND)                            \
  template void launch(const PrepareBoxes<T, KIND>&, int64_t); \
  template void launch(const IouMatrix<T, KIND>&, int64_t);    \
  template void launch(const Overlaps<T, KIND>&, int64_t);     \
  template void launch(const SoftSuppress<T, KIND>&, int64_t);

ROIOPS_BOX_KERNELS(double, CornerBoxes)
ROIOPS_BOX_KERNELS(double, RotatedBoxes)
ROIOPS_BOX_KERNELS(float, CornerBoxes)
ROIOPS_BOX_KERNELS(float, RotatedBoxes)
template void launch(const Scan&, int64_t);

}  // namespace roiops::cuda
