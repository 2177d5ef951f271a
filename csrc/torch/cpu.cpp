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

using at::Tensor;
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

Boxes read_boxes(const char* op, const Tensor& rois, int64_t images) {
  const Tensor rows = rois.to(at::kDouble).contiguous();
  RoiList list{rows.const_data_ptr<double>(), rows.size(1), {}};
  list.image.reserve(rows.size(0));
  for (int64_t i = 0; i < rows.size(0); ++i) {
    const double image = std::trunc(list.row(i)[0]);
    // Written as "not inside" because NaN fails every comparison.
    if (!(image >= 0 && image < static_cast<double>(images))) {
      TORCH_CHECK_INDEX(false, op, ": `boxes` must name images in [0, ", images, "), but got ",
          list.row(i)[0], " in row ", i, ".");
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
void check_plane(const char* op, const char* name, int64_t height, int64_t width) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  TORCH_CHECK(height == 0 || (height <= kMax && width <= kMax / height), op, ": the area of `",
      name, "` must be at most ", kMax, ", but got ", height, " * ", width, ".");
}

void check_planes(
    const char* op, int64_t height, int64_t width, int64_t pooled_height, int64_t pooled_width) {
  check_plane(op, "input", height, width);
  check_plane(op, "output_size", pooled_height, pooled_width);
}

// The listers of one op's taps for geometry in float and in double.
struct RoiAlignTaps {
  RoiAlignArgs<int64_t> args;
  int64_t height, width;

  template <typename T>
  cpu::SeparableTaps<RoiAlignGeometry<T>> of() const {
    const auto ratio = static_cast<int32_t>(std::max<int64_t>(args.sampling_ratio, 0));
    return cpu::SeparableTaps<RoiAlignGeometry<T>>({{args.spatial_scale, ratio, args.aligned},
        static_cast<int32_t>(height), static_cast<int32_t>(width),
        static_cast<int32_t>(args.pooled_height), static_cast<int32_t>(args.pooled_width)});
  }
};

template <typename Op>
Tensor mean_forward(const Op& op, const RoiList& rois, const Tensor& input, const Tensor& output) {
  const Tensor in = with_item_stride(input);
  ROIOPS_DISPATCH(in.scalar_type(), "mean_forward", [&] {
    using T = Accumulator<scalar_t>;
    TapPlan(op.template of<T>(), rois)
        .for_each_chunk([](const auto& tap, int64_t) { return tap.weight(); },
            [&](const auto& chunk) {
              cpu::gather_chunk(chunk, read<scalar_t>(in), write<scalar_t>(output));
            });
  });
  return output;
}

// The derivative of the output when each box moves by its row of `tangent`.
template <typename Op>
Tensor mean_jvp_boxes(const Op& op, const RoiList& rois, const Tensor& input, const Tensor& tangent,
    const Tensor& output) {
  const Tensor in = with_item_stride(input);
  ROIOPS_DISPATCH(in.scalar_type(), "mean_jvp_boxes", [&] {
    using T = Accumulator<scalar_t>;
    const Tensor moves = tangent.to(c10::CppTypeToScalarType<T>::value).contiguous();
    const T* const move = moves.const_data_ptr<T>();
    TapPlan(op.template of<T>(), rois)
        .for_each_chunk([&](const auto& tap,
                            int64_t roi) { return tap.tangent(move + roi * rois.columns + 1); },
            [&](const auto& chunk) {
              cpu::gather_chunk(chunk, read<scalar_t>(in), write<scalar_t>(output));
            });
  });
  return output;
}

template <typename Op>
Tensor mean_backward(
    const Op& op, const RoiList& rois, const Tensor& grad, const Tensor& grad_input) {
  const Tensor g = with_item_stride(grad);
  grad_input.zero_();
  ROIOPS_DISPATCH(g.scalar_type(), "mean_backward", [&] {
    using T = Accumulator<scalar_t>;
    const TapPlan plan(op.template of<T>(), rois);
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
  return grad_input;
}

template <typename Op>
Tensor mean_backward_boxes(const Op& op, const Boxes& boxes, const Tensor& grad,
    const Tensor& input, const Tensor& grad_boxes) {
  const Tensor g = with_item_stride(grad), in = with_item_stride(input);
  const Tensor sums = at::empty_like(boxes.rows);
  ROIOPS_DISPATCH(in.scalar_type(), "mean_backward_boxes", [&] {
    using T = Accumulator<scalar_t>;
    cpu::box_gradient(op.template of<T>(), boxes.list, read<scalar_t>(g), read<scalar_t>(in),
        sums.mutable_data_ptr<double>());
  });
  return grad_boxes.copy_(sums);
}

Tensor roi_align_cpu(const Tensor& input, const Tensor& rois, double spatial_scale,
    int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
  const char* const op = "roi_align";
  const Tensor output = prepare_roi_align(
      op, input, rois, {spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned});
  const Boxes boxes = read_boxes(op, rois, input.size(0));
  check_planes(op, input.size(2), input.size(3), pooled_height, pooled_width);
  if (output.numel() == 0) {
    return output;
  }
  return mean_forward(
      RoiAlignTaps{{spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned},
          input.size(2), input.size(3)},
      boxes.list, input, output);
}

Tensor roi_align_backward_cpu(const Tensor& grad, const Tensor& rois, double spatial_scale,
    int64_t pooled_height, int64_t pooled_width, int64_t batch_size, int64_t channels,
    int64_t height, int64_t width, int64_t sampling_ratio, bool aligned) {
  const char* const op = "_roi_align_backward";
  const c10::SymInt size[] = {batch_size, channels, height, width};
  const Tensor grad_input = prepare_roi_align_backward(
      op, grad, rois, {spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned}, size);
  const Boxes boxes = read_boxes(op, rois, batch_size);
  check_planes(op, height, width, pooled_height, pooled_width);
  if (grad_input.numel() == 0 || grad.numel() == 0) {
    return grad_input.zero_();
  }
  return mean_backward(
      RoiAlignTaps{
          {spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned}, height, width},
      boxes.list, grad, grad_input);
}

Tensor roi_align_backward_rois_cpu(const Tensor& grad, const Tensor& input, const Tensor& rois,
    double spatial_scale, int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio,
    bool aligned) {
  const char* const op = "_roi_align_backward_rois";
  const Tensor grad_rois = prepare_roi_align_backward_rois(
      op, grad, input, rois, {spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned});
  const Boxes boxes = read_boxes(op, rois, input.size(0));
  check_planes(op, input.size(2), input.size(3), pooled_height, pooled_width);
  if (grad.numel() == 0) {
    return grad_rois.zero_();
  }
  return mean_backward_boxes(
      RoiAlignTaps{{spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned},
          input.size(2), input.size(3)},
      boxes, grad, input, grad_rois);
}

Tensor roi_align_jvp_rois_cpu(const Tensor& input, const Tensor& rois, const Tensor& tangent,
    double spatial_scale, int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio,
    bool aligned) {
  const char* const op = "_roi_align_jvp_rois";
  const Tensor output = prepare_roi_align_jvp_rois(op, input, rois, tangent,
      {spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned});
  const Boxes boxes = read_boxes(op, rois, input.size(0));
  check_planes(op, input.size(2), input.size(3), pooled_height, pooled_width);
  if (output.numel() == 0) {
    return output;
  }
  return mean_jvp_boxes(
      RoiAlignTaps{{spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned},
          input.size(2), input.size(3)},
      boxes.list, input, tangent, output);
}

}  // namespace

TORCH_LIBRARY_IMPL(roiops, CPU, m) {
  m.impl("roi_align", TORCH_FN(roi_align_cpu));
  m.impl("_roi_align_backward", TORCH_FN(roi_align_backward_cpu));
  m.impl("_roi_align_backward_rois", TORCH_FN(roi_align_backward_rois_cpu));
  m.impl("_roi_align_jvp_rois", TORCH_FN(roi_align_jvp_rois_cpu));
}

}  // namespace roiops
