// CPU kernels of the operators that take a maximum. See NOTE [Max ops].
#include "cpu/max_apply.h"
#include "cpu/max_winners.h"
#include "torch/cpu_rois.h"
#include "torch/geometry.h"
#include "torch/max_op.h"
#include "torch/prepare.h"

namespace roiops {
namespace {

// Calls body(lister) with the lister of the call's operator, for geometry in T.
template <typename T, typename Body>
void with_samples(const RoiCall& call, const Tensor& map, Body&& body) {
  with_max_geometry<T>(
      call, [&](const auto& geometry) { body(cpu::SampleTaps(geometry, map_size(map))); });
}

struct CpuMax {
  static std::tuple<Tensor, Tensor> max(const RoiArgs& args) {
    const auto [values, argmax] = prepare_max(args);
    in_huge_pages(values);
    in_huge_pages(argmax);
    const Tensor& input = args.inputs[0];
    const Boxes boxes = read_boxes(args, input.size(0), input.scalar_type());
    if (values.numel() == 0) {
      return {values, argmax};
    }
    const Tensor in = with_item_stride(input);
    ROIOPS_DISPATCH(in.scalar_type(), "max", [&] {
      with_samples<Accumulator<scalar_t>>(args.call, in, [&](const auto& lister) {
        cpu::select(lister, boxes.list, read<scalar_t>(in), write<scalar_t>(values),
            write<int32_t>(argmax));
      });
    });
    return {values, argmax};
  }

  static Tensor max_select(const RoiArgs& args, const Tensor& argmax, const Tensor& boxes_tangent) {
    const Tensor output = in_huge_pages(prepare_max_select(args, argmax, boxes_tangent));
    const Tensor& input = args.inputs[0];
    const Boxes boxes = read_boxes(args, input.size(0), input.scalar_type());
    if (output.numel() == 0) {
      return output;
    }
    const Tensor in = with_item_stride(input), winner = with_item_stride(argmax);
    ROIOPS_DISPATCH(in.scalar_type(), "max_select", [&] {
      using T = Accumulator<scalar_t>;
      const Tensor moves =
          boxes_tangent.defined() ? boxes_tangent.to(kType<T>).contiguous() : Tensor();
      const T* const move = moves.defined() ? moves.const_data_ptr<T>() : nullptr;
      with_samples<T>(args.call, in, [&](const auto& lister) {
        cpu::gather_winners(lister, boxes.list, read<scalar_t>(in), read<int32_t>(winner),
            write<scalar_t>(output), [&](const auto& tap, int64_t roi) {
              return move ? tap.tangent(move + roi * boxes.list.columns + 1, nullptr)
                          : tap.weight();
            });
      });
    });
    return output;
  }

  static Tensor max_backward(
      const Tensor& grad, const Tensor& argmax, const RoiArgs& args, SymIntArrayRef input_size) {
    const Tensor result = in_huge_pages(prepare_max_backward(grad, argmax, args, input_size));
    const Boxes boxes = read_boxes(args, result.size(0), grad.scalar_type());
    if (grad.numel() == 0 || result.numel() == 0) {
      return result.zero_();
    }
    const Tensor g = with_item_stride(grad), winner = with_item_stride(argmax);
    ROIOPS_DISPATCH(g.scalar_type(), "max_backward", [&] {
      with_samples<Accumulator<scalar_t>>(args.call, result, [&](const auto& lister) {
        cpu::scatter_winners(lister, boxes.list, read<scalar_t>(g), read<int32_t>(winner),
            write<scalar_t>(result), result.size(0));
      });
    });
    return result;
  }

  static Tensor max_backward_boxes(const Tensor& grad, const Tensor& argmax, const RoiArgs& args) {
    const Tensor result = prepare_max_backward_boxes(grad, argmax, args);
    const Tensor& input = args.inputs[0];
    const Boxes boxes = read_boxes(args, input.size(0), input.scalar_type());
    if (grad.numel() == 0) {
      return result.zero_();
    }
    const Tensor g = with_item_stride(grad), winner = with_item_stride(argmax),
                 in = with_item_stride(input), rows = at::empty_like(boxes.rows);
    ROIOPS_DISPATCH(in.scalar_type(), "max_backward_boxes", [&] {
      with_samples<Accumulator<scalar_t>>(args.call, in, [&](const auto& lister) {
        cpu::winner_box_gradient(lister, boxes.list, read<scalar_t>(g), read<int32_t>(winner),
            read<scalar_t>(in), rows.mutable_data_ptr<double>());
      });
    });
    return result.copy_(rows);
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(roiops, CPU, m) {
  register_max_ops<CpuMax>(m);
}

}  // namespace roiops
