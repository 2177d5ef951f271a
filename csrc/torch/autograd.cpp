// Autograd: each average-type op is linear in its features, so that its backward op's backward,
// and its tangent by the features, are the op itself.
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>

#include "torch/node.h"
#include "torch/ops.h"

namespace roiops {
namespace {

using at::Tensor;
using c10::SymInt;

ag::SavedVariable save(const Tensor& tensor) {
  return ag::SavedVariable(tensor, /*is_output=*/false);
}

// Below autograd, with the dispatch keys that remain.
template <typename Op, typename... Args>
Tensor redispatch(const Op& op, c10::DispatchKeySet keys, Args&&... args) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  return op.redispatch(keys & c10::after_autograd_keyset, std::forward<Args>(args)...);
}

struct RoiAlignNode : OpNode<RoiAlignNode, 2> {
  static constexpr const char* kName = "RoiAlignBackward";

  ag::SavedVariable rois, input;  // input only if the boxes want a gradient
  double spatial_scale = 1;
  SymInt pooled_height, pooled_width, batch_size, channels, height, width;
  int64_t sampling_ratio = 0;
  bool aligned = false;

  auto fields() {
    return std::tie(rois, input, spatial_scale, pooled_height, pooled_width, batch_size, channels,
        height, width, sampling_ratio, aligned);
  }

  static ag::variable_list backward(const ag::variable_list& grads, Need need, const Tensor& rois,
      const Tensor& input, double spatial_scale, const SymInt& pooled_height,
      const SymInt& pooled_width, const SymInt& batch_size, const SymInt& channels,
      const SymInt& height, const SymInt& width, int64_t sampling_ratio, bool aligned) {
    ag::variable_list result(2);
    if (!grads[0].defined()) {
      return result;
    }
    if (need[0]) {
      result[0] = roi_align_backward_op().call(grads[0], rois, spatial_scale, pooled_height,
          pooled_width, batch_size, channels, height, width, sampling_ratio, aligned);
    }
    if (need[1]) {
      result[1] = roi_align_backward_rois_op().call(grads[0], input, rois, spatial_scale,
          pooled_height, pooled_width, sampling_ratio, aligned);
    }
    return result;
  }
};

Tensor roi_align_autograd(c10::DispatchKeySet keys, const Tensor& input, const Tensor& rois,
    double spatial_scale, SymInt pooled_height, SymInt pooled_width, int64_t sampling_ratio,
    bool aligned) {
  node_ptr<RoiAlignNode> node;
  if (ag::compute_requires_grad(input, rois)) {
    node = new_node<RoiAlignNode>();
    node->set_next_edges(ag::collect_next_edges(input, rois));
    node->rois = save(rois);
    if (node->should_compute_output(1)) {
      node->input = save(input);
    }
    node->spatial_scale = spatial_scale;
    node->pooled_height = pooled_height;
    node->pooled_width = pooled_width;
    node->sampling_ratio = sampling_ratio;
    node->aligned = aligned;
  }
  Tensor output = redispatch(roi_align_op(), keys, input, rois, spatial_scale, pooled_height,
      pooled_width, sampling_ratio, aligned);
  if (node) {  // after the op has checked that `input` has four dimensions
    node->batch_size = input.sym_size(0);
    node->channels = input.sym_size(1);
    node->height = input.sym_size(2);
    node->width = input.sym_size(3);
    ag::set_history(output, node);
  }
  const Tensor& input_tangent = input._fw_grad(/*level=*/0);
  const Tensor& rois_tangent = rois._fw_grad(/*level=*/0);
  if (input_tangent.defined() || rois_tangent.defined()) {
    const Tensor input_primal = input._fw_primal(0), rois_primal = rois._fw_primal(0);
    Tensor tangent;
    if (input_tangent.defined()) {
      tangent = roi_align_op().call(input_tangent, rois_primal, spatial_scale, pooled_height,
          pooled_width, sampling_ratio, aligned);
    }
    if (rois_tangent.defined()) {
      const Tensor moved = roi_align_jvp_rois_op().call(input_primal, rois_primal, rois_tangent,
          spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned);
      tangent = tangent.defined() ? tangent + moved : moved;
    }
    output._set_fw_grad(tangent, /*level=*/0, /*is_inplace_op=*/false);
  }
  return output;
}

struct RoiAlignBackwardNode : OpNode<RoiAlignBackwardNode, 2> {
  static constexpr const char* kName = "RoiAlignBackwardBackward";

  ag::SavedVariable rois;
  double spatial_scale = 1;
  SymInt pooled_height, pooled_width;
  int64_t sampling_ratio = 0;
  bool aligned = false;

  auto fields() {
    return std::tie(rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned);
  }

  static ag::variable_list backward(const ag::variable_list& grads, Need need, const Tensor& rois,
      double spatial_scale, const SymInt& pooled_height, const SymInt& pooled_width,
      int64_t sampling_ratio, bool aligned) {
    TORCH_CHECK_NOT_IMPLEMENTED(!need[1],
        "roi_align: second derivatives by `boxes` are not implemented. Detach the boxes.");
    ag::variable_list result(2);
    if (grads[0].defined() && need[0]) {
      result[0] = roi_align_op().call(
          grads[0], rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned);
    }
    return result;
  }
};

Tensor roi_align_backward_autograd(c10::DispatchKeySet keys, const Tensor& grad, const Tensor& rois,
    double spatial_scale, SymInt pooled_height, SymInt pooled_width, SymInt batch_size,
    SymInt channels, SymInt height, SymInt width, int64_t sampling_ratio, bool aligned) {
  node_ptr<RoiAlignBackwardNode> node;
  if (ag::compute_requires_grad(grad, rois)) {
    node = new_node<RoiAlignBackwardNode>();
    node->set_next_edges(ag::collect_next_edges(grad, rois));
    node->rois = save(rois);
    node->spatial_scale = spatial_scale;
    node->pooled_height = pooled_height;
    node->pooled_width = pooled_width;
    node->sampling_ratio = sampling_ratio;
    node->aligned = aligned;
  }
  Tensor grad_input = redispatch(roi_align_backward_op(), keys, grad, rois, spatial_scale,
      pooled_height, pooled_width, batch_size, channels, height, width, sampling_ratio, aligned);
  if (node) {
    ag::set_history(grad_input, node);
  }
  TORCH_CHECK_NOT_IMPLEMENTED(!rois._fw_grad(/*level=*/0).defined(),
      "roi_align: second derivatives by `boxes` are not implemented. Detach the boxes.");
  const Tensor& grad_tangent = grad._fw_grad(/*level=*/0);
  if (grad_tangent.defined()) {
    grad_input._set_fw_grad(
        roi_align_backward_op().call(grad_tangent, rois._fw_primal(0), spatial_scale, pooled_height,
            pooled_width, batch_size, channels, height, width, sampling_ratio, aligned),
        /*level=*/0, /*is_inplace_op=*/false);
  }
  return grad_input;
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, Autograd, m) {
  m.impl("roi_align", TORCH_FN(roi_align_autograd));
  m.impl("_roi_align_backward", TORCH_FN(roi_align_backward_autograd));
  // First-order ops: differentiating them raises by name, and composes with torch.func.
  m.impl("_roi_align_backward_rois", torch::autograd::autogradNotImplementedFallback());
  m.impl("_roi_align_jvp_rois", torch::autograd::autogradNotImplementedFallback());
}

}  // namespace roiops
