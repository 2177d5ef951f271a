// What the autograd of all operators shares.
#pragma once

#include "torch/mean_op.h"
#include "torch/node.h"
#include "torch/prepare.h"

namespace roiops {

using Sizes = std::vector<SymInt>;
using Numbers = std::vector<double>;

inline OptionalTensor optional(const Tensor& tensor) {
  return tensor.defined() ? OptionalTensor(tensor) : std::nullopt;
}

inline Tensor primal(const Tensor& tensor) {
  return tensor.defined() ? tensor._fw_primal(/*level=*/0) : tensor;
}

inline Tensor tangent(const Tensor& tensor) {
  return tensor.defined() ? tensor._fw_grad(/*level=*/0) : tensor;
}

inline void set_tangent(const Tensor& result, const Tensor& tangent) {
  result._set_fw_grad(tangent, /*level=*/0, /*is_inplace_op=*/false);
}

// Whether a node's features are channels_last, as far as it can tell before the checks.
inline bool is_channels_last(const Tensor& map) {
  const bool has_strides = map.defined() && map.layout() == at::kStrided && !map.is_nested();
  return has_strides && map.dim() == 4 && format_of(map) == at::MemoryFormat::ChannelsLast;
}

// The gradient of bins in the layout of the features, which their gradient then has as well: a
// layer between (flatten, say) may have lost it. Made of operators that vmap can batch.
inline Tensor in_layout(const Tensor& grad, bool channels_last) {
  if (grad.dim() != 4 || is_channels_last(grad) == channels_last) {
    return grad;
  }
  const auto dense = at::MemoryFormat::Contiguous;
  return channels_last ? grad.permute({0, 2, 3, 1}).clone(dense).permute({0, 3, 1, 2})
                       : grad.clone(dense);
}

// Adds a term to a sum that starts undefined.
inline void add_to(Tensor& sum, bool wanted, const Tensor& term) {
  if (wanted) {
    sum = sum.defined() ? sum + term : term;
  }
}

inline void check_no_second_derivative(bool wanted, std::string_view op) {
  TORCH_CHECK_NOT_IMPLEMENTED(!wanted, op, ": second derivatives by ",
      op == "roi_align_rotated" ? "`rois`" : "`boxes`",
      op == "deform_roi_pool" ? " and `offset`" : "", " are not implemented. Detach them.");
}

// For results that cannot be differentiated again.
struct FirstOrderNode : OpNode<FirstOrderNode> {
  static constexpr const char* kName = "RoiFirstOrder";

  std::string op;

  auto fields() {
    return std::tie(op);
  }

  static ag::variable_list backward(const ag::variable_list&, const Need&, const std::string& op) {
    check_no_second_derivative(true, op);
    return {};
  }
};

// forward(), with a graph and tangents that only say so.
template <typename Forward, typename... Tensors>
auto first_order(std::string_view op, Forward&& forward, const Tensors&... tensors) {
  check_no_second_derivative((tangent(tensors).defined() || ...), op);
  auto result = forward();
  if (ag::compute_requires_grad(tensors...)) {
    auto node = new_node<FirstOrderNode>();
    node->set_next_edges(ag::collect_next_edges(tensors...));
    node->op = std::string(op);
    if constexpr (std::is_same_v<decltype(result), Tensor>) {
      ag::set_history(result, node);
    } else {
      ag::set_history(std::get<0>(result), node);
      ag::set_history(std::get<1>(result), node);
    }
  }
  return result;
}

}  // namespace roiops
