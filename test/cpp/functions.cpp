// Every function of <roiops/roiops.h> is the operator of the same name: results, defaults, order of
// the arguments, gradients. Prints the name of each that agrees.
#include <iostream>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <roiops/roiops.h>
#include <torch/csrc/autograd/autograd.h>

namespace {

using Values = std::vector<at::Tensor>;

Values to_values(const at::Tensor& value) {
  return {value};
}
Values to_values(const std::tuple<at::Tensor, at::Tensor>& pair) {
  return {std::get<0>(pair), std::get<1>(pair)};
}
Values to_values(const std::tuple<at::Tensor, at::Tensor, at::Tensor>& three) {
  return {std::get<0>(three), std::get<1>(three), std::get<2>(three)};
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

bool same_and_not_zero(const at::Tensor& got, const at::Tensor& expected) {
  return got.numel() > 0 && got.ne(0).any().item<bool>() && got.equal(expected);
}

// By the first tensor of the call.
at::Tensor gradient_of(const at::Tensor& result, const c10::IValue& argument) {
  const at::Tensor leaf =
      argument.isTensor() ? argument.toTensor() : argument.toTensorVector().front();
  return torch::autograd::grad({result.sin().sum()}, {leaf})[0];
}

template <typename Result>
void compare(
    const std::string& name, const Result& result, const std::vector<c10::IValue>& arguments) {
  const Values got = to_values(result), expected = by_schema(name, arguments);
  bool same =
      got.size() == expected.size() && got[0].requires_grad() == expected[0].requires_grad();
  for (size_t i = 0; i < got.size() && same; ++i) {
    same = same_and_not_zero(got[i], expected[i]);
  }
  if (same && got[0].requires_grad()) {
    same = same_and_not_zero(
        gradient_of(got[0], arguments[0]), gradient_of(expected[0], arguments[0]));
  }
  std::cout << (same ? "same " : "DIFFERENT ") << name << '\n';
  ok = ok && same;
}

// A function whose result is cut to the count, which the operator returns last.
template <typename Result>
void compare_cut(const std::string& name, const Result& result, const std::string& op,
    const std::vector<c10::IValue>& arguments) {
  const Values got = to_values(result), padded = by_schema(op, arguments);
  const auto count = padded.back().item<int64_t>();
  bool same = got.size() + 1 == padded.size() && count > 0 && count < padded[0].size(0);
  for (size_t i = 0; i < got.size() && same; ++i) {
    same = got[i].equal(padded[i].narrow(0, 0, count));
  }
  std::cout << (same ? "same " : "DIFFERENT ") << name << '\n';
  ok = ok && same;
}

void compare_box_functions() {
  const at::Tensor turned = at::rand({40, 5}) * 5 + 1, scores = at::rand({40});
  const at::Tensor corners = at::cat({turned.slice(1, 0, 2), turned.slice(1, 2, 4) + 6}, 1);
  const at::Tensor idxs = at::arange(40).remainder(3);
  const c10::IValue none;
  const int64_t n = 40;
  const at::Tensor few = turned.slice(0, 0, 9);
  compare("box_iou", roiops::box_iou(corners, corners), {corners, corners});
  compare("box_iou_rotated", roiops::box_iou_rotated(turned, few), {turned, few});
  compare("box_iou_rotated", roiops::box_iou_rotated(turned, few, true), {turned, few, true});
  compare("nms_padded", roiops::nms_padded(corners, scores, 0.3, 9), {corners, scores, 0.3, 9});
  compare("nms_padded", roiops::nms_padded(turned, scores, 0.3, 9, idxs, 0.5, true),
      {turned, scores, 0.3, 9, idxs, 0.5, true});
  compare("soft_nms_padded", roiops::soft_nms_padded(corners, scores, 9), {corners, scores, 9});
  compare("soft_nms_padded",
      roiops::soft_nms_padded(turned, scores, 9, 0.2, 0.7, 0.1, "gaussian", idxs, true),
      {turned, scores, 9, 0.2, 0.7, 0.1, "gaussian", idxs, true});
  compare_cut("nms", roiops::nms(corners, scores, 0.3), "nms_padded", {corners, scores, 0.3, n});
  compare_cut("batched_nms", roiops::batched_nms(corners, scores, idxs, 0.3), "nms_padded",
      {corners, scores, 0.3, n, idxs});
  compare_cut("nms_rotated", roiops::nms_rotated(turned, scores, 0.2), "nms_padded",
      {turned, scores, 0.2, n});
  compare_cut("nms_rotated", roiops::nms_rotated(turned, scores, 0.2, idxs, true), "nms_padded",
      {turned, scores, 0.2, n, idxs, none, true});
  compare_cut("soft_nms", roiops::soft_nms(corners, scores, 0.2, 0.7, 0.3), "soft_nms_padded",
      {corners, scores, n, 0.2, 0.7, 0.3});
  compare_cut("soft_nms", roiops::soft_nms(turned, scores, 0.2, 0.7, 0.3, "gaussian", idxs, true),
      "soft_nms_padded", {turned, scores, n, 0.2, 0.7, 0.3, "gaussian", idxs, true});
}

constexpr int64_t kHeight = 3, kWidth = 2;  // bins

void compare_with_upright_boxes(const at::Tensor& x, const at::Tensor& rois) {
  compare("roi_align", roiops::roi_align(x, rois, 0.5, kHeight, kWidth),
      {x, rois, 0.5, kHeight, kWidth});
  compare("roi_align", roiops::roi_align(x, rois, 0.5, kHeight, kWidth, 3, true),
      {x, rois, 0.5, kHeight, kWidth, 3, true});
  compare("roi_align_max", roiops::roi_align_max(x, rois, 0.5, kHeight, kWidth),
      {x, rois, 0.5, kHeight, kWidth});
  compare("roi_align_max", roiops::roi_align_max(x, rois, 0.5, kHeight, kWidth, 3, true),
      {x, rois, 0.5, kHeight, kWidth, 3, true});
  compare(
      "roi_pool", roiops::roi_pool(x, rois, 0.5, kHeight, kWidth), {x, rois, 0.5, kHeight, kWidth});
  compare("ps_roi_align", roiops::ps_roi_align(x, rois, 0.5, kHeight, kWidth),
      {x, rois, 0.5, kHeight, kWidth});
  compare("ps_roi_align", roiops::ps_roi_align(x, rois, 0.5, kHeight, kWidth, 3),
      {x, rois, 0.5, kHeight, kWidth, 3});
  compare("ps_roi_pool", roiops::ps_roi_pool(x, rois, 0.5, kHeight, kWidth),
      {x, rois, 0.5, kHeight, kWidth});
  compare("prroi_pool", roiops::prroi_pool(x, rois, 0.5, kHeight, kWidth),
      {x, rois, 0.5, kHeight, kWidth});
  const at::Tensor offset = at::rand({2, 2, kHeight, kWidth}, x.options());
  compare("deform_roi_pool", roiops::deform_roi_pool(x, rois, {}, 0.5, kHeight, kWidth),
      {x, rois, c10::IValue(), 0.5, kHeight, kWidth});
  compare("deform_roi_pool", roiops::deform_roi_pool(x, rois, offset, 0.5, kHeight, kWidth, 3, 0.7),
      {x, rois, offset, 0.5, kHeight, kWidth, 3, 0.7});
  const std::vector<at::Tensor> maps = {x, at::rand({2, 12, 5, 4}, x.options())};
  const std::vector<double> scales = {0.5, 0.25};
  compare("multiscale_roi_align", roiops::multiscale_roi_align(maps, rois, scales, kHeight, kWidth),
      {maps, rois, scales, kHeight, kWidth});
  compare("multiscale_roi_align",
      roiops::multiscale_roi_align(maps, rois, scales, kHeight, kWidth, 3, true, 8, 1),
      {maps, rois, scales, kHeight, kWidth, 3, true, 8, 1});
}

void compare_with_other_boxes(const at::Tensor& x, const at::Tensor& rois) {
  const at::Tensor crops = at::tensor({.1, .2, .9, .8, .7, 0., .2, 1.}, x.options()).view({2, 4});
  const at::Tensor indices = at::tensor({1, 0}, at::kLong);
  compare("crop_and_resize", roiops::crop_and_resize(x, crops, indices, kHeight, kWidth),
      {x, crops, indices, kHeight, kWidth});
  compare("crop_and_resize",
      roiops::crop_and_resize(x, crops + 0.5, indices, kHeight, kWidth, "nearest", 2),
      {x, crops + 0.5, indices, kHeight, kWidth, "nearest", 2.0});
  const at::Tensor turned = at::cat({rois, at::full({2, 1}, 0.4, x.options())}, 1);
  compare("roi_align_rotated", roiops::roi_align_rotated(x, turned, 0.5, kHeight, kWidth),
      {x, turned, 0.5, kHeight, kWidth});
  compare("roi_align_rotated",
      roiops::roi_align_rotated(x, turned, 0.5, kHeight, kWidth, 3, false, true),
      {x, turned, 0.5, kHeight, kWidth, 3, false, true});
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
  const at::Tensor rois =
      at::tensor({0., 4., 2., 13., 16., 1., 1., 3., 6., 11.}, options).view({2, 5});
  compare_with_upright_boxes(x, rois);
  compare_with_other_boxes(x, rois);
  compare_box_functions();
  return ok && patching_is_refused() ? 0 : 1;
}
