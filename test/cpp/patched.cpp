// roiops::patch_torchvision() from C++, in a process that has loaded torchvision.
#include <cmath>
#include <iostream>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <roiops/roiops.h>
#include <torch/csrc/autograd/autograd.h>

namespace {

at::Tensor torchvision_roi_align(const at::Tensor& input, const at::Tensor& rois) {
  std::vector<c10::IValue> stack = {input, rois, 0.5, 3, 2, 2, true};
  c10::Dispatcher::singleton().findSchemaOrThrow("torchvision::roi_align", "").callBoxed(stack);
  return stack[0].toTensor();
}

// Which of four things are as they should be, a bit each.
int checks() {
  const at::Tensor input = at::randn({1, 2, 9, 8}).requires_grad_();
  // torchvision's kernel follows the NaN into other memory; so it is not asked.
  const at::Tensor box = at::tensor({0.F, 1.F, 2.F, 13.F, 16.F}).view({1, 5});
  const at::Tensor nan = at::tensor({0.F, NAN, 2.F, 13.F, 16.F}).view({1, 5});

  const at::Tensor theirs = torchvision_roi_align(input, box);
  roiops::patch_torchvision();
  const at::Tensor ours = torchvision_roi_align(input, box);
  int good = ours.equal(roiops::roi_align(input, box, 0.5, 3, 2, 2, true)) ? 1 : 0;
  good |= torchvision_roi_align(input, nan).eq(0).all().item<bool>() ? 2 : 0;
  const at::Tensor gradient = torch::autograd::grad({ours.sum()}, {input})[0];
  good |= gradient.sum().item<float>() != 0 ? 4 : 0;
  roiops::unpatch_torchvision();
  good |= torchvision_roi_align(input, box).equal(theirs) ? 8 : 0;
  return good;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int roiops_test_patched() try {
  return checks();
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return -1;
}
