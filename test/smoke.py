"""What a fresh installation must be able to do; run by `make test-install` and `make wheel`, without pytest."""

from pathlib import Path

import torch

import roiops

features = torch.rand(2, 8, 20, 30, requires_grad=True)
boxes = torch.tensor([[0, 4.2, 2.1, 40.3, 30.4], [1, 8.6, 9.7, 50.8, 33.9]], requires_grad=True)
pooled = roiops.roi_align(features, boxes, 7, spatial_scale=0.5)
pooled.square().sum().backward()
assert pooled.shape == (2, 8, 7, 7) and features.grad is not None and boxes.grad is not None

package = Path(roiops.cmake_prefix_path)
assert (package / "share/cmake/roiops/roiopsConfig.cmake").is_file()
assert (package / "include/roiops/roiops.h").is_file()
print(f"roiops {roiops.__version__} works with torch {torch.__version__} in {package}")
