// Autograd of the operators that take a maximum. The winners are held constant: see NOTE [Max ops].
// Edges of every node: the features (or their gradient), then the boxes.
#include "torch/autograd_common.h"
#include "torch/max_op.h"

namespace roiops {
namespace {

// One node for the operator, given its winners, and for _max_select.
struct MaxNode : OpNode<MaxNode> {
  static constexpr const char* kName = "RoiMaxBackward";

  ag::SavedVariable boxes, argmax, input;  // input only if the boxes want a gradient
  Sizes input_size;
  bool channels_last = false;  // the features, and so the values
  std::string op;
  Numbers options;

  auto fields() {
    return std::tie(boxes, argmax, input, input_size, channels_last, op, options);
  }

  static ag::variable_list backward(const ag::variable_list& grads, const Need& need,
      const Tensor& boxes, const Tensor& argmax, const Tensor& input, const Sizes& input_size,
      bool channels_last, const std::string& op, const Numbers& options) {
    ag::variable_list result(2);
    if (!grads[0].defined()) {
      return result;
    }
    const Tensor grad = in_layout(grads[0], channels_last);
    if (need[0]) {
      result[0] = max_backward_op().call(grad, argmax, boxes, input_size, op, options);
    }
    if (need[1]) {
      result[1] = max_backward_boxes_op().call(grad, input, argmax, boxes, op, options);
    }
    return result;
  }
};

// roi_pool is piecewise constant in its boxes; the checks, which come later, want some.
Tensor differentiable_boxes(const RoiArgs& args) {
  return args.call.op == "roi_pool" && args.boxes.defined() ? args.boxes.detach() : args.boxes;
}

// The values' graph and tangent, for known winners.
void differentiate(
    const Tensor& values, const Tensor& argmax, const RoiArgs& args, const Tensor& boxes) {
  const Tensor& input = args.inputs[0];
  const RoiCall& call = args.call;
  if (ag::compute_requires_grad(input, boxes)) {
    auto node = new_node<MaxNode>();
    node->set_next_edges(ag::collect_next_edges(input, boxes));
    node->boxes = save(boxes);
    node->argmax = save(argmax);
    if (node->should_compute_output(1)) {
      node->input = save(input);
    }
    node->input_size = input.sym_sizes().vec();
    node->channels_last = is_channels_last(input);
    node->op = call.op;
    node->options = call.options;
    ag::set_history(values, node);
  }
  Tensor result;
  const Tensor input_tangent = tangent(input), boxes_tangent = tangent(boxes);
  if (input_tangent.defined()) {
    add_to(result, true,
        max_select_op().call(input_tangent, argmax, primal(boxes), {}, call.op, call.options));
  }
  if (boxes_tangent.defined()) {
    add_to(result, true,
        max_select_op().call(
            primal(input), argmax, primal(boxes), boxes_tangent, call.op, call.options));
  }
  if (result.defined()) {
    set_tangent(values, result);
  }
}

template <typename Op, typename Pack = decltype(Op::pack)>
struct Autograd;

template <typename Op, typename... Args>
struct Autograd<Op, RoiArgs(Args...)> {
  static std::tuple<Tensor, Tensor> kernel(c10::DispatchKeySet keys, Args... args) {
    const RoiArgs packed = Op::pack(args...);
    auto result = below_autograd(MaxOp<Op>::handle(), keys, args...);
    differentiate(std::get<0>(result), std::get<1>(result), packed, differentiable_boxes(packed));
    return result;
  }
};

Tensor max_select(c10::DispatchKeySet keys, const Tensor& input, const Tensor& argmax,
    const Tensor& boxes, const OptionalTensor& boxes_tangent, std::string_view op,
    Options options) {
  const auto forward = [&] {
    return below_autograd(max_select_op(), keys, input, argmax, boxes, boxes_tangent, op, options);
  };
  if (boxes_tangent.has_value()) {
    return first_order(op, forward, input, boxes, *boxes_tangent);
  }
  const RoiArgs args =
      to_args({input}, boxes, {}, op, options, output_size_of(argmax, "argmax", op));
  const Tensor values = forward();
  differentiate(values, argmax, args, differentiable_boxes(args));
  return values;
}

struct MaxBackwardNode : OpNode<MaxBackwardNode> {
  static constexpr const char* kName = "RoiMaxBackwardBackward";

  ag::SavedVariable boxes, argmax;
  std::string op;
  Numbers options;

  auto fields() {
    return std::tie(boxes, argmax, op, options);
  }

  static ag::variable_list backward(const ag::variable_list& grads, const Need& need,
      const Tensor& boxes, const Tensor& argmax, const std::string& op, const Numbers& options) {
    check_no_second_derivative(need[1], op);
    ag::variable_list result(2);
    if (grads[0].defined() && need[0]) {
      result[0] = max_select_op().call(grads[0], argmax, boxes, {}, op, options);
    }
    return result;
  }
};

Tensor max_backward(c10::DispatchKeySet keys, const Tensor& grad, const Tensor& argmax,
    const Tensor& boxes, SymIntArrayRef input_size, std::string_view op, Options options) {
  check_no_second_derivative(tangent(boxes).defined(), op);
  const Tensor result =
      below_autograd(max_backward_op(), keys, grad, argmax, boxes, input_size, op, options);
  if (ag::compute_requires_grad(grad, boxes)) {
    auto node = new_node<MaxBackwardNode>();
    node->set_next_edges(ag::collect_next_edges(grad, boxes));
    node->boxes = save(boxes);
    node->argmax = save(argmax);
    node->op = std::string(op);
    node->options = options.vec();
    ag::set_history(result, node);
  }
  const Tensor grad_tangent = tangent(grad);
  if (grad_tangent.defined()) {
    set_tangent(
        result, max_backward_op().call(grad_tangent, argmax, boxes, input_size, op, options));
  }
  return result;
}

Tensor max_backward_boxes(c10::DispatchKeySet keys, const Tensor& grad, const Tensor& input,
    const Tensor& argmax, const Tensor& boxes, std::string_view op, Options options) {
  return first_order(
      op,
      [&] {
        return below_autograd(
            max_backward_boxes_op(), keys, grad, input, argmax, boxes, op, options);
      },
      grad, input, boxes);
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, Autograd, m) {
  for_each_max_op([&]<typename Op>() { m.impl(Op::kName, &Autograd<Op>::kernel); });
  m.impl("_max_select", &max_select);
  m.impl("_max_backward", &max_backward);
  m.impl("_max_backward_boxes", &max_backward_boxes);
}

}  // namespace roiops
