// Every function of <roiops/roiops.h> is the operator of the same name: results, defaults, order of
// the arguments, gradients. Prints the name of each that agrees.
#include <iostream>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <roiops/roiops.h>

namespace {

using Values = std::vector<at::Tensor>;

Values to_values(const at::Tensor& value) {
  return {value};
}
Values to_values(const std::tuple<at::Tensor, at::Tensor>& pair) {
  return {std::get<0>(pair), std::get<1>(pair)};
}

// The operator on these arguments; those that are missing have the schema's defaults.
Values by_schema(const std::string& name, std::vector<c10::IValue> stack) {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(("roiops::" + name).c_str(), "");
  op.schema().checkAndNormalizeInputs(stack);
  op.callBoxed(stack);
  Values values;
  for (const c10::IValue& value : stack) {
    values.push_back(value.toTensor());
  }
  return values;
}

bool ok = true;

template <typename Result>
void compare(
    const std::string& name, const Result& result, const std::vector<c10::IValue>& arguments) {
  const Values got = to_values(result), expected = by_schema(name, arguments);
  bool same = got.size() == expected.size() && got[0].requires_grad();
  for (size_t i = 0; i < got.size() && same; ++i) {
    same = got[i].numel() > 0 && got[i].ne(0).any().item<bool>() && got[i].equal(expected[i]);
  }
  std::cout << (same ? "same " : "DIFFERENT ") << name << '\n';
  ok = ok && same;
}

// Without torchvision there is nothing to patch.
bool patching_is_refused() {
  roiops::unpatch_torchvision();
  try {
    roiops::patch_torchvision();
  } catch (const c10::Error& error) {
    return std::string(error.what()).find("there is no torchvision::roi_align") !=
           std::string::npos;
  }
  return false;
}

}  // namespace

int main() {
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const at::Tensor x = at::rand({2, 12, 9, 8}, options).requires_grad_();
  const at::Tensor small = at::rand({2, 12, 5, 4}, options);
  const at::Tensor rois =
      at::tensor({0., 4., 2., 13., 16., 1., 1., 3., 6., 11.}, options).view({2, 5});
  const at::Tensor turned = at::cat({rois, at::full({2, 1}, 0.4, options)}, 1);
  const at::Tensor crops = at::tensor({.1, .2, .9, .8, .7, 0., .2, 1.}, options).view({2, 4});
  const at::Tensor indices = at::tensor({1, 0}, at::kLong);
  const at::Tensor offset = at::rand({2, 2, 3, 2}, options);
  const std::vector<at::Tensor> maps = {x, small};
  const std::vector<double> scales = {0.5, 0.25};
  const int64_t h = 3, w = 2;

  compare("roi_align", roiops::roi_align(x, rois, 0.5, h, w), {x, rois, 0.5, h, w});
  compare(
      "roi_align", roiops::roi_align(x, rois, 0.5, h, w, 3, true), {x, rois, 0.5, h, w, 3, true});
  compare("roi_align_max", roiops::roi_align_max(x, rois, 0.5, h, w), {x, rois, 0.5, h, w});
  compare("roi_align_max", roiops::roi_align_max(x, rois, 0.5, h, w, 3, true),
      {x, rois, 0.5, h, w, 3, true});
  compare("roi_pool", roiops::roi_pool(x, rois, 0.5, h, w), {x, rois, 0.5, h, w});
  compare("ps_roi_align", roiops::ps_roi_align(x, rois, 0.5, h, w), {x, rois, 0.5, h, w});
  compare("ps_roi_align", roiops::ps_roi_align(x, rois, 0.5, h, w, 3), {x, rois, 0.5, h, w, 3});
  compare("ps_roi_pool", roiops::ps_roi_pool(x, rois, 0.5, h, w), {x, rois, 0.5, h, w});
  compare("crop_and_resize", roiops::crop_and_resize(x, crops, indices, h, w),
      {x, crops, indices, h, w});
  compare("crop_and_resize", roiops::crop_and_resize(x, crops + 0.5, indices, h, w, "nearest", 2),
      {x, crops + 0.5, indices, h, w, "nearest", 2.0});
  compare(
      "roi_align_rotated", roiops::roi_align_rotated(x, turned, 0.5, h, w), {x, turned, 0.5, h, w});
  compare("roi_align_rotated", roiops::roi_align_rotated(x, turned, 0.5, h, w, 3, false, true),
      {x, turned, 0.5, h, w, 3, false, true});
  compare("prroi_pool", roiops::prroi_pool(x, rois, 0.5, h, w), {x, rois, 0.5, h, w});
  compare("deform_roi_pool", roiops::deform_roi_pool(x, rois, {}, 0.5, h, w),
      {x, rois, c10::IValue(), 0.5, h, w});
  compare("deform_roi_pool", roiops::deform_roi_pool(x, rois, offset, 0.5, h, w, 3, 0.7),
      {x, rois, offset, 0.5, h, w, 3, 0.7});
  compare("multiscale_roi_align", roiops::multiscale_roi_align(maps, rois, scales, h, w),
      {maps, rois, scales, h, w});
  compare("multiscale_roi_align",
      roiops::multiscale_roi_align(maps, rois, scales, h, w, 3, true, 8, 1),
      {maps, rois, scales, h, w, 3, true, 8, 1});
  return ok && patching_is_refused() ? 0 : 1;
}
