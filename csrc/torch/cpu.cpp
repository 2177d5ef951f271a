// CPU kernels: tensors in, tensors out. Checks first, then the boxes' geometry, then the engine.
#include <ATen/Dispatch.h>
#include <torch/library.h>

#include "core/roi_align.h"
#include "cpu/apply.h"
#include "cpu/box_gradient.h"
#include "cpu/separable_taps.h"
#include "torch/check.h"

namespace roiops {
namespace {

using cpu::Accumulator;
using cpu::RoiList;
using cpu::TapPlan;
using cpu::View;

#define ROIOPS_DISPATCH(TYPE, NAME, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, TYPE, NAME, __VA_ARGS__)

// Boxes as doubles, which hold every box dtype exactly, and their checked image indices.
struct Boxes {
  Tensor rows;
  RoiList list;
};

Boxes read_boxes(const MeanCall& call, const Tensor& boxes, int64_t images) {
  const Tensor rows = boxes.to(at::kDouble).contiguous();
  RoiList list{rows.const_data_ptr<double>(), rows.size(1), {}};
  list.image.reserve(rows.size(0));
  for (int64_t i = 0; i < rows.size(0); ++i) {
    const double image = std::trunc(list.row(i)[0]);
    // Written as "not inside" because NaN fails every comparison.
    if (!(image >= 0 && image < static_cast<double>(images))) {
      TORCH_CHECK_INDEX(false, call.op, ": `boxes` must name images in [0, ", images, "), but got ",
          std::isnan(image) ? std::abs(image) : list.row(i)[0], " in row ", i, ".");
    }
    list.image.push_back(static_cast<int64_t>(image));
  }
  return {rows, std::move(list)};
}

// Whether the last two dimensions can be walked as one.
bool has_item_stride(const Tensor& t) {
  return t.size(3) == 1 || t.size(2) <= 1 || t.stride(2) == t.stride(3) * t.size(3);
}

Tensor with_item_stride(const Tensor& t) {
  return has_item_stride(t) ? t : t.contiguous(t.suggest_memory_format());
}

template <typename S>
View<S> view_of(const Tensor& t, S* data) {
  return {data, t.stride(0), t.stride(1), t.size(3) == 1 ? t.stride(2) : t.stride(3), t.size(1),
      t.size(2) * t.size(3)};
}

template <typename S>
View<const S> read(const Tensor& t) {
  return view_of(t, t.const_data_ptr<S>());
}

template <typename S>
View<S> write(const Tensor& t) {
  return view_of(t, t.mutable_data_ptr<S>());
}

// Inside a plane of pixels or bins, indices are 32 bits wide.
void check_area(const std::string& op, const char* name, int64_t height, int64_t width) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  TORCH_CHECK(height == 0 || (height <= kMax && width <= kMax / height), op, ": the area of `",
      name, "` must be at most ", kMax, ", but got ", height, " * ", width, ".");
}

void check_areas(const MeanCall& call, int64_t height, int64_t width) {
  check_area(call.op, "input", height, width);
  check_area(
      call.op, "output_size", call.output_size[0].expect_int(), call.output_size[1].expect_int());
}

struct MapSize {
  int32_t height, width;
};

MapSize map_size(const Tensor& map) {
  return {static_cast<int32_t>(map.size(2)), static_cast<int32_t>(map.size(3))};
}

// Calls body with the tap lister of the call's operator, for geometry in T.
template <typename T, typename Body>
void with_taps(const MeanCall& call, const MapSize& size, Body&& body) {
  const auto bin = [&](size_t d) { return static_cast<int32_t>(call.output_size[d].expect_int()); };
  body(cpu::SeparableTaps<RoiAlignGeometry<T>>(
      {sampling_options(call), size.height, size.width, bin(0), bin(1)}));
}

// out = A' in, with A' the taps' entries that weight(tap, roi) picks, in the geometry's type.
template <typename S, typename Weight>
void gather(const MeanCall& call, const RoiList& rois, const Tensor& input, const Tensor& output,
    Weight&& weight) {
  const Tensor in = with_item_stride(input);
  with_taps<Accumulator<S>>(call, map_size(in), [&](const auto& taps) {
    TapPlan(taps, rois).for_each_chunk(weight, [&](const auto& chunk) {
      cpu::gather_chunk(chunk, read<S>(in), write<S>(output));
    });
  });
}

Tensor mean(const Tensor& input, const Tensor& boxes, const MeanCall& call) {
  const Tensor output = prepare_mean(input, boxes, call);
  const Boxes rois = read_boxes(call, boxes, input.size(0));
  check_areas(call, input.size(2), input.size(3));
  if (output.numel() == 0) {
    return output;
  }
  ROIOPS_DISPATCH(input.scalar_type(), "mean", [&] {
    gather<scalar_t>(
        call, rois.list, input, output, [](const auto& tap, int64_t) { return tap.weight(); });
  });
  return output;
}

// The derivative of the output when each box moves by its row of `tangent`.
Tensor mean_jvp_boxes(
    const Tensor& input, const Tensor& boxes, const Tensor& tangent, const MeanCall& call) {
  const Tensor output = prepare_mean_jvp_boxes(input, boxes, tangent, call);
  const Boxes rois = read_boxes(call, boxes, input.size(0));
  check_areas(call, input.size(2), input.size(3));
  if (output.numel() == 0) {
    return output;
  }
  ROIOPS_DISPATCH(input.scalar_type(), "mean_jvp_boxes", [&] {
    using T = Accumulator<scalar_t>;
    const Tensor moves = tangent.to(c10::CppTypeToScalarType<T>::value).contiguous();
    const T* const move = moves.const_data_ptr<T>();
    gather<scalar_t>(call, rois.list, input, output, [&](const auto& tap, int64_t roi) {
      return tap.tangent(move + roi * rois.list.columns + 1);
    });
  });
  return output;
}

Tensor mean_backward(
    const Tensor& grad, const Tensor& boxes, c10::SymIntArrayRef input_size, const MeanCall& call) {
  const Tensor grad_input = prepare_mean_backward(grad, boxes, input_size, call);
  const Boxes rois = read_boxes(call, boxes, grad_input.size(0));
  check_areas(call, grad_input.size(2), grad_input.size(3));
  grad_input.zero_();
  if (grad_input.numel() == 0 || grad.numel() == 0) {
    return grad_input;
  }
  const Tensor g = with_item_stride(grad);
  ROIOPS_DISPATCH(g.scalar_type(), "mean_backward", [&] {
    using T = Accumulator<scalar_t>;
    with_taps<T>(call, map_size(grad_input), [&](const auto& taps) {
      const TapPlan plan(taps, rois.list);
      const auto scatter = [&](auto view) {
        plan.for_each_chunk([](const auto& tap, int64_t) { return tap.weight(); },
            [&](const auto& chunk) { cpu::scatter_chunk(chunk, read<scalar_t>(g), view); });
      };
      if (plan.chunks() == 1 || std::is_same_v<scalar_t, T>) {
        scatter(write<scalar_t>(grad_input));
      } else {  // sums that grow over several chunks are rounded once, at the end
        const Tensor sums = at::zeros_like(
            grad_input, grad_input.options().dtype(c10::CppTypeToScalarType<T>::value));
        scatter(write<T>(sums));
        grad_input.copy_(sums);
      }
    });
  });
  return grad_input;
}

Tensor mean_backward_boxes(
    const Tensor& grad, const Tensor& input, const Tensor& boxes, const MeanCall& call) {
  const Tensor grad_boxes = prepare_mean_backward_boxes(grad, input, boxes, call);
  const Boxes rois = read_boxes(call, boxes, input.size(0));
  check_areas(call, input.size(2), input.size(3));
  if (grad.numel() == 0) {
    return grad_boxes.zero_();
  }
  const Tensor g = with_item_stride(grad), in = with_item_stride(input);
  const Tensor sums = at::empty_like(rois.rows);
  ROIOPS_DISPATCH(in.scalar_type(), "mean_backward_boxes", [&] {
    with_taps<Accumulator<scalar_t>>(call, map_size(in), [&](const auto& taps) {
      cpu::box_gradient(
          taps, rois.list, read<scalar_t>(g), read<scalar_t>(in), sums.mutable_data_ptr<double>());
    });
  });
  return grad_boxes.copy_(sums);
}

Tensor mean_cpu(const Tensor& input, const Tensor& boxes, c10::SymIntArrayRef output_size,
    std::string_view op, at::ArrayRef<double> options) {
  return mean(input, boxes, unpack(output_size, op, options));
}

Tensor mean_backward_cpu(const Tensor& grad, const Tensor& boxes, c10::SymIntArrayRef input_size,
    std::string_view op, at::ArrayRef<double> options) {
  return mean_backward(grad, boxes, input_size, unpack_grad(grad, op, options));
}

Tensor mean_backward_boxes_cpu(const Tensor& grad, const Tensor& input, const Tensor& boxes,
    std::string_view op, at::ArrayRef<double> options) {
  return mean_backward_boxes(grad, input, boxes, unpack_grad(grad, op, options));
}

Tensor mean_jvp_boxes_cpu(const Tensor& input, const Tensor& boxes, const Tensor& tangent,
    c10::SymIntArrayRef output_size, std::string_view op, at::ArrayRef<double> options) {
  return mean_jvp_boxes(input, boxes, tangent, unpack(output_size, op, options));
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, CPU, m) {
  m.impl("roi_align", TORCH_FN(MeanOp<RoiAlign>::kernel<mean>));
  m.impl("_mean", TORCH_FN(mean_cpu));
  m.impl("_mean_backward", TORCH_FN(mean_backward_cpu));
  m.impl("_mean_backward_boxes", TORCH_FN(mean_backward_boxes_cpu));
  m.impl("_mean_jvp_boxes", TORCH_FN(mean_jvp_boxes_cpu));
}

}  // namespace roiops
