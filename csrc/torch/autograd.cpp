// Autograd of the average-type operators. Each is linear in its features, so that the backward of
// its backward, and its tangent by the features, are the operator itself.
#include <torch/library.h>

#include "torch/mean_op.h"
#include "torch/node.h"

namespace roiops {
namespace {

using Sizes = std::vector<c10::SymInt>;
using Options = std::vector<double>;

struct MeanNode : OpNode<MeanNode> {
  static constexpr const char* kName = "RoiMeanBackward";

  ag::SavedVariable boxes, input;  // input only if the boxes want a gradient
  Sizes input_size;
  std::string op;
  Options options;

  auto fields() {
    return std::tie(boxes, input, input_size, op, options);
  }

  static ag::variable_list backward(const ag::variable_list& grads, const Need& need,
      const Tensor& boxes, const Tensor& input, const Sizes& input_size, const std::string& op,
      const Options& options) {
    ag::variable_list result(2);
    if (!grads[0].defined()) {
      return result;
    }
    if (need[0]) {
      result[0] = mean_backward_op().call(grads[0], boxes, input_size, op, options);
    }
    if (need[1]) {
      result[1] = mean_backward_boxes_op().call(grads[0], input, boxes, op, options);
    }
    return result;
  }
};

node_ptr<MeanNode> mean_node(const Tensor& input, const Tensor& boxes, const MeanCall& call) {
  auto node = new_node<MeanNode>();
  node->set_next_edges(ag::collect_next_edges(input, boxes));
  node->boxes = save(boxes);
  if (node->should_compute_output(1)) {
    node->input = save(input);
  }
  node->input_size = input.sym_sizes().vec();
  node->op = call.op;
  node->options = call.options;
  return node;
}

Tensor mean_tangent(const Tensor& input, const Tensor& boxes, const MeanCall& call) {
  const Tensor& input_tangent = input._fw_grad(/*level=*/0);
  const Tensor& boxes_tangent = boxes._fw_grad(/*level=*/0);
  Tensor tangent;
  if (input_tangent.defined()) {
    tangent =
        mean_op().call(input_tangent, boxes._fw_primal(0), call.output_size, call.op, call.options);
  }
  if (boxes_tangent.defined()) {
    const Tensor moved = mean_jvp_boxes_op().call(input._fw_primal(0), boxes._fw_primal(0),
        boxes_tangent, call.output_size, call.op, call.options);
    tangent = tangent.defined() ? tangent + moved : moved;
  }
  return tangent;
}

// Output of `forward`, an average-type operator below autograd, with its graph and tangent.
template <typename Forward>
Tensor mean_autograd(
    const Tensor& input, const Tensor& boxes, const MeanCall& call, Forward&& forward) {
  node_ptr<MeanNode> node;
  if (ag::compute_requires_grad(input, boxes)) {
    node = mean_node(input, boxes, call);
  }
  Tensor output = below_autograd(forward);
  if (node) {
    ag::set_history(output, node);
  }
  const Tensor tangent = mean_tangent(input, boxes, call);
  if (tangent.defined()) {
    output._set_fw_grad(tangent, /*level=*/0, /*is_inplace_op=*/false);
  }
  return output;
}

Tensor mean(c10::DispatchKeySet keys, const Tensor& input, const Tensor& boxes,
    c10::SymIntArrayRef output_size, std::string_view op, at::ArrayRef<double> options) {
  return mean_autograd(input, boxes, unpack(output_size, op, options), [&] {
    return mean_op().redispatch(
        keys & c10::after_autograd_keyset, input, boxes, output_size, op, options);
  });
}

template <typename Op, typename Pack = decltype(Op::pack)>
struct Autograd;

template <typename Op, typename... Options>
struct Autograd<Op, MeanCall(Options...)> {
  static Tensor kernel(
      c10::DispatchKeySet keys, const Tensor& input, const Tensor& rois, Options... options) {
    return mean_autograd(input, rois, Op::pack(options...), [&] {
      return MeanOp<Op>::handle().redispatch(
          keys & c10::after_autograd_keyset, input, rois, options...);
    });
  }
};

void check_no_second_derivative(bool wanted, const std::string& op) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      !wanted, op, ": second derivatives by `boxes` are not implemented. Detach the boxes.");
}

struct MeanBackwardNode : OpNode<MeanBackwardNode> {
  static constexpr const char* kName = "RoiMeanBackwardBackward";

  ag::SavedVariable boxes;
  Sizes output_size;
  std::string op;
  Options options;

  auto fields() {
    return std::tie(boxes, output_size, op, options);
  }

  static ag::variable_list backward(const ag::variable_list& grads, const Need& need,
      const Tensor& boxes, const Sizes& output_size, const std::string& op,
      const Options& options) {
    check_no_second_derivative(need[1], op);
    ag::variable_list result(2);
    if (grads[0].defined() && need[0]) {
      result[0] = mean_op().call(grads[0], boxes, output_size, op, options);
    }
    return result;
  }
};

Tensor mean_backward(c10::DispatchKeySet keys, const Tensor& grad, const Tensor& boxes,
    c10::SymIntArrayRef input_size, std::string_view op, at::ArrayRef<double> options) {
  const Tensor& grad_tangent = grad._fw_grad(/*level=*/0);
  check_no_second_derivative(boxes._fw_grad(/*level=*/0).defined(), std::string(op));
  Tensor grad_input = below_autograd([&] {
    return mean_backward_op().redispatch(
        keys & c10::after_autograd_keyset, grad, boxes, input_size, op, options);
  });
  if (ag::compute_requires_grad(grad, boxes)) {
    auto node = new_node<MeanBackwardNode>();
    node->set_next_edges(ag::collect_next_edges(grad, boxes));
    node->boxes = save(boxes);
    node->output_size = grad.sym_sizes().slice(2).vec();
    node->op = std::string(op);
    node->options = options.vec();
    ag::set_history(grad_input, node);
  }
  if (grad_tangent.defined()) {
    grad_input._set_fw_grad(mean_backward_op().call(grad_tangent, boxes, input_size, op, options),
        /*level=*/0, /*is_inplace_op=*/false);
  }
  return grad_input;
}

// For results that cannot be differentiated again.
struct FirstOrderNode : OpNode<FirstOrderNode> {
  static constexpr const char* kName = "RoiMeanFirstOrder";

  std::string op;

  auto fields() {
    return std::tie(op);
  }

  static ag::variable_list backward(const ag::variable_list&, const Need&, const std::string& op) {
    check_no_second_derivative(true, op);
    return {};
  }
};

template <typename Forward, typename... Tensors>
Tensor first_order(std::string_view op, Forward&& forward, const Tensors&... tensors) {
  check_no_second_derivative((tensors._fw_grad(/*level=*/0).defined() || ...), std::string(op));
  Tensor output = below_autograd(forward);
  if (ag::compute_requires_grad(tensors...)) {
    auto node = new_node<FirstOrderNode>();
    node->set_next_edges(ag::collect_next_edges(tensors...));
    node->op = std::string(op);
    ag::set_history(output, node);
  }
  return output;
}

Tensor mean_backward_boxes(c10::DispatchKeySet keys, const Tensor& grad, const Tensor& input,
    const Tensor& boxes, std::string_view op, at::ArrayRef<double> options) {
  return first_order(
      op,
      [&] {
        return mean_backward_boxes_op().redispatch(
            keys & c10::after_autograd_keyset, grad, input, boxes, op, options);
      },
      grad, input, boxes);
}

Tensor mean_jvp_boxes(c10::DispatchKeySet keys, const Tensor& input, const Tensor& boxes,
    const Tensor& tangent, c10::SymIntArrayRef output_size, std::string_view op,
    at::ArrayRef<double> options) {
  return first_order(
      op,
      [&] {
        return mean_jvp_boxes_op().redispatch(
            keys & c10::after_autograd_keyset, input, boxes, tangent, output_size, op, options);
      },
      input, boxes, tangent);
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, Autograd, m) {
  m.impl("roi_align", TORCH_FN(Autograd<RoiAlign>::kernel));
  m.impl("_mean", TORCH_FN(mean));
  m.impl("_mean_backward", TORCH_FN(mean_backward));
  m.impl("_mean_backward_boxes", TORCH_FN(mean_backward_boxes));
  m.impl("_mean_jvp_boxes", TORCH_FN(mean_jvp_boxes));
}

}  // namespace roiops
