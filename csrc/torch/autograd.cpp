// Autograd of the average-type operators. Each is linear in its features, so that the backward of
// its backward, and its tangent by the features, are the operator itself.
//
// Edges of every node: the feature maps, then the boxes, then the extra tensor.
#include "torch/autograd_common.h"
#include "torch/mean_op.h"

namespace roiops {
namespace {

struct MeanNode : OpNode<MeanNode> {
  static constexpr const char* kName = "RoiMeanBackward";

  std::vector<ag::SavedVariable> inputs;  // only if the boxes or the extra tensor want a gradient
  ag::SavedVariable boxes, extra;
  Sizes input_sizes;
  bool channels_last = false;  // the first map, and so the output
  std::string op;
  Numbers options;

  auto fields() {
    return std::tie(inputs, boxes, extra, input_sizes, channels_last, op, options);
  }

  static ag::variable_list backward(const ag::variable_list& grads, const Need& need,
      const std::vector<Tensor>& inputs, const Tensor& boxes, const Tensor& extra,
      const Sizes& input_sizes, bool channels_last, const std::string& op, const Numbers& options) {
    ag::variable_list result(need.size());
    if (!grads[0].defined()) {
      return result;
    }
    const Tensor grad = in_layout(grads[0], channels_last);
    const size_t levels = need.size() - 2;
    const RoiCall call{op, options, {}};
    for (size_t level = 0; level < levels; ++level) {
      const RoiCall one = call_of_level(call, level);
      if (need[level]) {
        result[level] = mean_backward_op().call(grad, boxes, optional(extra),
            SymIntArrayRef(input_sizes).slice(4 * level, 4), op, one.options);
      }
      if (need[levels] || need[levels + 1]) {
        const auto [by_boxes, by_extra] = mean_backward_boxes_op().call(
            grad, inputs[level], boxes, optional(extra), op, one.options);
        add_to(result[levels], need[levels], by_boxes);
        add_to(result[levels + 1], need[levels + 1], by_extra);
      }
    }
    return result;
  }
};

node_ptr<MeanNode> mean_node(const RoiArgs& args) {
  auto node = new_node<MeanNode>();
  node->set_next_edges(ag::collect_next_edges(args.inputs, args.boxes, args.extra));
  const size_t levels = args.inputs.size();
  if (node->should_compute_output(levels) || node->should_compute_output(levels + 1)) {
    for (const Tensor& input : args.inputs) {
      node->inputs.push_back(save(input));
    }
  }
  node->boxes = save(args.boxes);
  node->extra = save(args.extra);
  for (const Tensor& input : args.inputs) {
    const auto sizes = input.sym_sizes();
    node->input_sizes.insert(node->input_sizes.end(), sizes.begin(), sizes.end());
  }
  node->channels_last = !args.inputs.empty() && is_channels_last(args.inputs[0]);
  node->op = args.call.op;
  node->options = args.call.options;
  return node;
}

// A bin has its tangent from one level, and zeros from the others.
Tensor mean_tangent(const RoiArgs& args) {
  const Tensor boxes = primal(args.boxes), extra = primal(args.extra);
  const Tensor boxes_tangent = tangent(args.boxes), extra_tangent = tangent(args.extra);
  Tensor result;
  for (size_t level = 0; level < args.inputs.size(); ++level) {
    const RoiCall call = call_of_level(args.call, level);
    const Tensor input_tangent = tangent(args.inputs[level]);
    if (input_tangent.defined()) {
      add_to(result, true,
          mean_op().call(
              input_tangent, boxes, optional(extra), call.output_size, call.op, call.options));
    }
    if (boxes_tangent.defined() || extra_tangent.defined()) {
      add_to(result, true,
          mean_jvp_boxes_op().call(primal(args.inputs[level]), boxes, optional(extra),
              optional(boxes_tangent), optional(extra_tangent), call.output_size, call.op,
              call.options));
    }
  }
  return result;
}

// The call as its derivatives see it: without the constant that crop_and_resize extrapolates with,
// and with constant boxes where the result is piecewise constant in them.
RoiArgs differentiable_part(RoiArgs args) {
  // Autograd runs before the checks: the options may not be there, nor the boxes.
  const bool crop = is_crop(args.call) && args.call.options.size() >= 2;
  const bool constant = args.call.op == "ps_roi_pool" || (crop && args.call.options[0] != 0);
  if (constant && args.boxes.defined()) {
    args.boxes = args.boxes.detach();
  }
  if (crop) {
    args.call.options[1] = 0;
  }
  return args;
}

// Output of `forward`, an average-type operator below autograd, with its graph and tangent.
template <typename Forward>
Tensor mean_autograd(const RoiArgs& packed, Forward&& forward) {
  const RoiArgs args = differentiable_part(packed);
  node_ptr<MeanNode> node;
  if (ag::compute_requires_grad(args.inputs, args.boxes, args.extra)) {
    node = mean_node(args);
  }
  Tensor output = forward();
  if (node) {
    ag::set_history(output, node);
  }
  const Tensor output_tangent = mean_tangent(args);
  if (output_tangent.defined()) {
    set_tangent(output, output_tangent);
  }
  return output;
}

template <typename Op, typename Pack = decltype(Op::pack)>
struct Autograd;

template <typename Op, typename... Args>
struct Autograd<Op, RoiArgs(Args...)> {
  static Tensor kernel(c10::DispatchKeySet keys, Args... args) {
    return mean_autograd(
        Op::pack(args...), [&] { return below_autograd(MeanOp<Op>::handle(), keys, args...); });
  }
};

Tensor mean(c10::DispatchKeySet keys, const Tensor& input, const Tensor& boxes,
    const OptionalTensor& extra, SymIntArrayRef output_size, std::string_view op, Options options) {
  return mean_autograd(to_args({input}, boxes, extra, op, options, output_size), [&] {
    return below_autograd(mean_op(), keys, input, boxes, extra, output_size, op, options);
  });
}

// Edges: grad, boxes, extra.
struct MeanBackwardNode : OpNode<MeanBackwardNode> {
  static constexpr const char* kName = "RoiMeanBackwardBackward";

  ag::SavedVariable boxes, extra;
  Sizes output_size;
  std::string op;
  Numbers options;

  auto fields() {
    return std::tie(boxes, extra, output_size, op, options);
  }

  static ag::variable_list backward(const ag::variable_list& grads, const Need& need,
      const Tensor& boxes, const Tensor& extra, const Sizes& output_size, const std::string& op,
      const Numbers& options) {
    check_no_second_derivative(need[1] || need[2], op);
    ag::variable_list result(3);
    if (grads[0].defined() && need[0]) {
      result[0] = mean_op().call(grads[0], boxes, optional(extra), output_size, op, options);
    }
    return result;
  }
};

Tensor mean_backward(c10::DispatchKeySet keys, const Tensor& grad, const Tensor& boxes,
    const OptionalTensor& extra, SymIntArrayRef input_size, std::string_view op, Options options) {
  const Tensor other = extra.value_or(Tensor());
  check_no_second_derivative(tangent(boxes).defined() || tangent(other).defined(), op);
  const Tensor result =
      below_autograd(mean_backward_op(), keys, grad, boxes, extra, input_size, op, options);
  if (ag::compute_requires_grad(grad, boxes, other)) {
    auto node = new_node<MeanBackwardNode>();
    node->set_next_edges(ag::collect_next_edges(grad, boxes, other));
    node->boxes = save(boxes);
    node->extra = save(other);
    node->output_size = grad.sym_sizes().slice(2).vec();
    node->op = std::string(op);
    node->options = options.vec();
    ag::set_history(result, node);
  }
  const Tensor grad_tangent = tangent(grad);
  if (grad_tangent.defined()) {
    set_tangent(
        result, mean_backward_op().call(grad_tangent, boxes, extra, input_size, op, options));
  }
  return result;
}

std::tuple<Tensor, Tensor> mean_backward_boxes(c10::DispatchKeySet keys, const Tensor& grad,
    const Tensor& input, const Tensor& boxes, const OptionalTensor& extra, std::string_view op,
    Options options) {
  return first_order(
      op,
      [&] {
        return below_autograd(
            mean_backward_boxes_op(), keys, grad, input, boxes, extra, op, options);
      },
      grad, input, boxes, extra.value_or(Tensor()));
}

Tensor mean_jvp_boxes(c10::DispatchKeySet keys, const Tensor& input, const Tensor& boxes,
    const OptionalTensor& extra, const OptionalTensor& boxes_tangent,
    const OptionalTensor& extra_tangent, SymIntArrayRef output_size, std::string_view op,
    Options options) {
  return first_order(
      op,
      [&] {
        return below_autograd(mean_jvp_boxes_op(), keys, input, boxes, extra, boxes_tangent,
            extra_tangent, output_size, op, options);
      },
      input, boxes, extra.value_or(Tensor()), boxes_tangent.value_or(Tensor()),
      extra_tangent.value_or(Tensor()));
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, Autograd, m) {
  for_each_mean_op([&]<typename Op>() { m.impl(Op::kName, &Autograd<Op>::kernel); });
  m.impl("_mean", &mean);
  m.impl("_mean_backward", &mean_backward);
  m.impl("_mean_backward_boxes", &mean_backward_boxes);
  m.impl("_mean_jvp_boxes", &mean_jvp_boxes);
}

}  // namespace roiops
