#include "cpu/parallel.h"

#include <ATen/Parallel.h>

namespace roiops::cpu {

void parallel_for(int64_t count, const std::function<void(int64_t, int64_t)>& body) {
  at::parallel_for(0, count, /*grain_size=*/1, body);
}

}  // namespace roiops::cpu
