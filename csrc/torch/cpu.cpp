// CPU kernels: tensors in, tensors out. Checks first, then the boxes' geometry, then the engine.
#include "cpu/apply.h"
#include "cpu/box_gradient.h"
#include "torch/cpu_rois.h"
#include "torch/cpu_taps.h"
#include "torch/prepare.h"
#include "torch/views.h"

namespace roiops {
namespace {

using cpu::RoiList;
using cpu::TapPlan;
using cpu::Views;

template <typename S>
Views<const S> read_maps(const RoiCall& call, const std::vector<Tensor>& maps) {
  Views<const S> views;
  for (const Tensor& map : maps) {
    views.push_back(map_view(call, read<S>(map)));
  }
  return views;
}

// As the views need them; channels of bins of their own are told from others by their stride.
std::vector<Tensor> readable_maps(const RoiArgs& args) {
  std::vector<Tensor> maps;
  for (const Tensor& map : args.inputs) {
    const bool same = is_position_sensitive(args.call) && map.stride(1) == 0;
    maps.push_back(same ? map.contiguous() : with_item_stride(map));
  }
  return maps;
}

template <typename Taps>
auto plan_of(const Taps& taps, const RoiList& rois) {
  if constexpr (cpu::kSeparable<Taps>) {
    return cpu::AxisPlan(taps, rois);
  } else {
    return TapPlan(taps, rois);
  }
}

Tensor mean(const RoiArgs& args) {
  const Tensor output = in_huge_pages(prepare_mean(args));
  const Tensor& input = args.inputs[0];
  const Boxes boxes = read_boxes(args, input.size(0), input.scalar_type());
  if (output.numel() == 0) {
    return output;
  }
  const std::vector<Tensor> maps = readable_maps(args);
  const double empty = extrapolation_value(args.call);
  ROIOPS_DISPATCH(input.scalar_type(), "mean", [&] {
    using S = scalar_t;
    const Views<const S> in = read_maps<S>(args.call, maps);
    const View<S> out = write<S>(output);
    with_taps<Accumulator<S>>(args.call, map_sizes(maps), boxes, [&](const auto& taps) {
      plan_of(taps, boxes.list).for_each_chunk([&](const auto& chunk) {
        cpu::gather_chunk(chunk, in, out);
        if (empty != 0) {
          cpu::fill_empty_bins(chunk, static_cast<S>(empty), out);
        }
      });
    });
  });
  return output;
}

// The derivative of the output when each box, and its extra parameters, move along the tangents.
Tensor mean_jvp_boxes(
    const RoiArgs& args, const Tensor& boxes_tangent, const Tensor& extra_tangent) {
  const Tensor output = in_huge_pages(prepare_mean_jvp_boxes(args, boxes_tangent, extra_tangent));
  const Tensor& input = args.inputs[0];
  const Boxes boxes = read_boxes(args, input.size(0), input.scalar_type());
  if (output.numel() == 0) {
    return output;
  }
  ROIOPS_DISPATCH(input.scalar_type(), "mean_jvp_boxes", [&] {
    using T = Accumulator<scalar_t>;
    const auto rows = [&](const Tensor& moves, const Tensor& like) {
      return moves.defined() ? moves.to(kType<T>).contiguous() : at::zeros_like(like, kType<T>);
    };
    const Tensor box_moves = rows(
        boxes_tangent.defined() ? to_rows(args.call, boxes_tangent) : boxes_tangent, boxes.rows);
    const Tensor extra_moves =
        boxes.offset.defined() ? rows(extra_tangent, boxes.offset) : at::empty({0}, kType<T>);
    const T* const box = box_moves.const_data_ptr<T>();
    const T* const extra = extra_moves.const_data_ptr<T>();
    const int64_t extras = boxes.offset.defined() ? boxes.offset.stride(0) : 0;
    const std::vector<Tensor> maps = readable_maps(args);
    const Views<const scalar_t> in = read_maps<scalar_t>(args.call, maps);
    const View<scalar_t> out = write<scalar_t>(output);
    with_taps<T>(args.call, map_sizes(maps), boxes, [&](const auto& taps) {
      const auto tangent = [&](const auto& tap, int64_t roi) {
        return tap.tangent(box + roi * boxes.list.columns + 1, extra + roi * extras);
      };
      TapPlan(taps, boxes.list)
          .for_each_chunk([&](const auto& chunk) { cpu::gather_chunk(chunk, in, out); }, tangent);
    });
  });
  return output;
}

Tensor mean_backward(const Tensor& grad, const RoiArgs& args, SymIntArrayRef input_size) {
  const Tensor result = in_huge_pages(prepare_mean_backward(grad, args, input_size));
  const Boxes boxes = read_boxes(args, result.size(0), grad.scalar_type());
  if (grad.numel() == 0 || result.numel() == 0) {
    return result.zero_();
  }
  const Tensor g = with_item_stride(grad);
  const int64_t images = result.size(0);
  ROIOPS_DISPATCH(g.scalar_type(), "mean_backward", [&] {
    using S = scalar_t;
    using T = Accumulator<S>;
    const View<S> view = map_view(args.call, write<S>(result));
    with_taps<T>(args.call, map_sizes({result}), boxes, [&](const auto& taps) {
      const auto plan = plan_of(taps, boxes.list);
      const auto scatter = [&](const auto& map) {
        plan.for_each_chunk(
            [&](const auto& chunk) { cpu::scatter_chunk(chunk, read<S>(g), map, images); });
      };
      if (std::is_same_v<S, T> || plan.chunks() == 1) {
        scatter(view);
      } else {  // 16-bit sums that grow over several chunks are rounded at the end
        const Tensor sums = at::empty_like(result, kType<T>);
        scatter(map_view(args.call, write<T>(sums)));
        result.copy_(sums);
      }
    });
  });
  return result;
}

std::tuple<Tensor, Tensor> mean_backward_boxes(const Tensor& grad, const RoiArgs& args) {
  const auto [grad_boxes, grad_extra] = prepare_mean_backward_boxes(grad, args);
  const Tensor& input = args.inputs[0];
  const Boxes boxes = read_boxes(args, input.size(0), input.scalar_type());
  if (grad.numel() == 0) {
    return {grad_boxes.zero_(), grad_extra.zero_()};
  }
  const Tensor g = with_item_stride(grad);
  const Tensor in = with_item_stride(input);
  const Tensor rows = at::empty_like(boxes.rows);
  const Tensor extra = at::empty(grad_extra.sizes(), at::kDouble);
  ROIOPS_DISPATCH(input.scalar_type(), "mean_backward_boxes", [&] {
    with_taps<Accumulator<scalar_t>>(args.call, map_sizes({in}), boxes, [&](const auto& taps) {
      cpu::box_gradient(taps, boxes.list, read<scalar_t>(g),
          map_view(args.call, read<scalar_t>(in)), rows.mutable_data_ptr<double>(),
          extra.mutable_data_ptr<double>());
    });
  });
  return {grad_boxes.copy_(from_rows(args.call, rows)), grad_extra.copy_(extra)};
}

struct Cpu {
  static constexpr auto mean = &roiops::mean;
  static constexpr auto mean_backward = &roiops::mean_backward;
  static constexpr auto mean_backward_boxes = &roiops::mean_backward_boxes;
  static constexpr auto mean_jvp_boxes = &roiops::mean_jvp_boxes;
};

}  // namespace

TORCH_LIBRARY_IMPL(roiops, CPU, m) {
  register_mean_ops<Cpu>(m);
}

}  // namespace roiops
