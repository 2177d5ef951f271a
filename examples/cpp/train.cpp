// Training without Python: gradient descent on the weight of a 1x1 convolution and on a box, until
// the pooled features are those of a given weight and a given box. Prints the loss of every step.
#include <iomanip>
#include <iostream>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <roiops/roiops.h>

namespace {

constexpr int kSteps = 20;

at::Tensor pool(const at::Tensor& image, const at::Tensor& weight, const at::Tensor& rois) {
  return roiops::roi_align(
      at::conv2d(image, weight).tanh(), rois, /*spatial_scale=*/0.5, 3, 3, 2, /*aligned=*/true);
}

void step(const at::Tensor& parameter, double rate) {
  const at::NoGradGuard guard;
  parameter.sub_(parameter.grad(), rate);
  parameter.mutable_grad().zero_();
}

}  // namespace

int main() {
  const at::Tensor axis = at::arange(12, at::kDouble) / 4;
  const at::Tensor y = axis.view({12, 1}), x = axis.view({1, 12});
  const at::Tensor image = at::stack({(x + y).sin(), (x - 2 * y).cos()}).unsqueeze(0);
  const at::Tensor goal = pool(image, at::tensor({1.0, -0.5}, at::kDouble).view({1, 2, 1, 1}),
      at::tensor({0., 4., 5., 16., 19.}, at::kDouble).view({1, 5}));

  at::Tensor weight = at::tensor({0.2, 0.3}, at::kDouble).view({1, 2, 1, 1}).requires_grad_();
  at::Tensor box = at::tensor({0., 6., 4., 17., 16.}, at::kDouble).view({1, 5}).requires_grad_();
  std::cout << std::setprecision(17);
  for (int i = 0; i < kSteps; ++i) {
    const at::Tensor loss = (pool(image, weight, box) - goal).square().mean();
    loss.backward();
    std::cout << loss.item<double>() << '\n';
    step(weight, 1);
    step(box, 20);
  }
}
