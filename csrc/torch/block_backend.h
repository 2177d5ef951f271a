// The kernels of csrc/cuda as a backend: tensors in, tensors out, on whatever Launcher runs blocks
// on: a GPU, or the host in the tests. A Launcher has
//   static int32_t threads()               per block, a power of two, at least 32
//   static void launch(kernel, blocks)
#pragma once

#include "cuda/box_gradient.h"
#include "cuda/mean_source.h"
#include "cuda/select.h"
#include "cuda/winners.h"
#include "torch/block_calls.h"
#include "torch/max_op.h"

namespace roiops {

template <typename Launcher>
struct BlockBackend {
  static Tensor mean(const RoiArgs& args) {
    const Tensor output = prepare_mean(args);
    const c10::OptionalDeviceGuard guard(at::device_of(output));
    ROIOPS_DISPATCH(args.inputs[0].scalar_type(), "mean", [&] {
      gather<scalar_t, cuda::PlainWeight>(args, {}, extrapolation_value(args.call), output);
    });
    return output;
  }

  static Tensor mean_jvp_boxes(
      const RoiArgs& args, const Tensor& boxes_tangent, const Tensor& extra_tangent) {
    const Tensor output = prepare_mean_jvp_boxes(args, boxes_tangent, extra_tangent);
    const c10::OptionalDeviceGuard guard(at::device_of(output));
    ROIOPS_DISPATCH(args.inputs[0].scalar_type(), "mean_jvp_boxes", [&] {
      using T = Accumulator<scalar_t>;
      const Tensor extra = in_type<T>(extra_tangent);
      gather<scalar_t, cuda::TangentWeight>(
          args, {table_of(boxes_tangent), pointer_to<T>(extra)}, 0, output);
    });
    return output;
  }

  static Tensor mean_backward(const Tensor& grad, const RoiArgs& args, SymIntArrayRef input_size) {
    const Tensor result = prepare_mean_backward(grad, args, input_size);
    const c10::OptionalDeviceGuard guard(at::device_of(result));
    if (result.numel() == 0) {
      return result;
    }
    const Tensor g = with_item_stride(grad);
    ROIOPS_DISPATCH(g.scalar_type(), "mean_backward", [&] {
      using T = Accumulator<scalar_t>;
      const Tensor offset = offset_of<T>(args);
      with_block_taps<T>(args.call, {map_size(result)}, offset, [&](auto taps) {
        const cuda::TileShape shape = cuda::tile_shape<T>(
            result.size(0), result.size(1), map_size(result), Launcher::threads());
        cuda::limit_lists(taps, taps.grid.height, std::max(shape.height, shape.width));
        using Source = cuda::MeanSource<scalar_t, decltype(taps)>;
        scatter<scalar_t>(
            Source{taps, read<scalar_t>(g), is_position_sensitive(args.call), cuda::kTileEntries},
            args, shape, result);
      });
    });
    return result;
  }

  static std::tuple<Tensor, Tensor> mean_backward_boxes(const Tensor& grad, const RoiArgs& args) {
    const auto [by_boxes, by_extra] = prepare_mean_backward_boxes(grad, args);
    const c10::OptionalDeviceGuard guard(at::device_of(by_boxes));
    by_boxes.zero_();
    if (grad.numel() == 0 || args.inputs[0].numel() == 0) {
      return {by_boxes, by_extra.zero_()};
    }
    const Tensor g = with_item_stride(grad), in = with_item_stride(args.inputs[0]);
    ROIOPS_DISPATCH(in.scalar_type(), "mean_backward_boxes", [&] {
      using T = Accumulator<scalar_t>;
      const Tensor offset = offset_of<T>(args);
      const Tensor extra = by_extra.numel() > 0
                               ? at::empty(by_extra.sizes(), by_extra.options().dtype(kType<T>))
                               : Tensor();
      with_block_taps<T>(args.call, {map_size(in)}, offset, [&](auto taps) {
        using Taps = decltype(taps);
        const cuda::Split split =
            cuda::split_of(taps.grid, args.boxes.size(0), /*groups=*/1, Launcher::threads());
        const Tensor sums = at::empty(
            {args.boxes.size(0), split.row_parts, Taps::kBoxColumns}, in.options().dtype(kType<T>));
        cuda::limit_lists(taps, split.rows);
        const View<const scalar_t> grads = read<scalar_t>(g);
        const cuda::BoxGradient<scalar_t, Taps> kernel{taps, roi_table<T>(args, in),
            map_view(args.call, read<scalar_t>(in)), grads, split, grads.channel_stride != 1,
            sums.template mutable_data_ptr<T>(),
            extra.defined() ? extra.mutable_data_ptr<T>() : nullptr};
        Launcher::launch(kernel, kernel.rois.count * split.row_parts);
        store_columns(by_boxes, sums.sum(1));
      });
      if (extra.defined()) {
        by_extra.copy_(extra);
      }
    });
    return {by_boxes, by_extra};
  }

  static std::tuple<Tensor, Tensor> max(const RoiArgs& args) {
    const auto [values, argmax] = prepare_max(args);
    const c10::OptionalDeviceGuard guard(at::device_of(values));
    if (values.numel() == 0) {
      return {values, argmax};
    }
    const Tensor in = with_item_stride(args.inputs[0]);
    ROIOPS_DISPATCH(in.scalar_type(), "max", [&] {
      with_max_call<scalar_t>(args, in, [&](const auto& call) {
        using Geometry = std::decay_t<decltype(call.geometry)>;
        const cuda::Split split = split_of<cuda::kWidth<scalar_t, false>>(call, values);
        const cuda::Select<scalar_t, Geometry> kernel{call, read<scalar_t>(in),
            write<scalar_t>(values), write<int32_t>(argmax), split, values.stride(1) != 1};
        launch_split(kernel, call.rois.count, split);
      });
    });
    return {values, argmax};
  }

  static Tensor max_select(const RoiArgs& args, const Tensor& argmax, const Tensor& boxes_tangent) {
    const Tensor output = prepare_max_select(args, argmax, boxes_tangent);
    const c10::OptionalDeviceGuard guard(at::device_of(output));
    if (output.numel() == 0) {
      return output;
    }
    const Tensor in = with_item_stride(args.inputs[0]), names = with_item_stride(argmax);
    ROIOPS_DISPATCH(in.scalar_type(), "max_select", [&] {
      using T = Accumulator<scalar_t>;
      with_max_call<scalar_t>(args, in, [&](const auto& call) {
        using Geometry = std::decay_t<decltype(call.geometry)>;
        const cuda::Split split = split_of<1>(call, output);
        const auto run = [&]<template <typename> typename Weight>(const Weight<T>& weight) {
          const cuda::GatherWinners<scalar_t, Geometry, Weight> kernel{call, weight,
              read<scalar_t>(in), read<int32_t>(names), write<scalar_t>(output), split,
              output.stride(1) != 1};
          launch_split(kernel, call.rois.count, split);
        };
        if (boxes_tangent.defined()) {
          run(cuda::TangentWeight<T>{table_of(boxes_tangent), nullptr});
        } else {
          run(cuda::PlainWeight<T>{});
        }
      });
    });
    return output;
  }

  static Tensor max_backward(
      const Tensor& grad, const Tensor& argmax, const RoiArgs& args, SymIntArrayRef input_size) {
    const Tensor result = prepare_max_backward(grad, argmax, args, input_size);
    const c10::OptionalDeviceGuard guard(at::device_of(result));
    if (result.numel() == 0) {
      return result;
    }
    const Tensor g = with_item_stride(grad), names = with_item_stride(argmax);
    ROIOPS_DISPATCH(g.scalar_type(), "max_backward", [&] {
      using T = Accumulator<scalar_t>;
      with_max_call<scalar_t>(args, result, [&](const auto& call) {
        using Geometry = std::decay_t<decltype(call.geometry)>;
        const cuda::TileShape shape =
            cuda::tile_shape<T>(result.size(0), result.size(1), call.map, Launcher::threads());
        scatter<scalar_t>(
            cuda::WinnerSource<scalar_t, Geometry>{call, read<scalar_t>(g), read<int32_t>(names)},
            args, shape, result);
      });
    });
    return result;
  }

  static Tensor max_backward_boxes(const Tensor& grad, const Tensor& argmax, const RoiArgs& args) {
    const Tensor result = prepare_max_backward_boxes(grad, argmax, args);
    const c10::OptionalDeviceGuard guard(at::device_of(result));
    result.zero_();
    if (grad.numel() == 0 || args.inputs[0].numel() == 0) {
      return result;
    }
    const Tensor g = with_item_stride(grad), names = with_item_stride(argmax),
                 in = with_item_stride(args.inputs[0]);
    ROIOPS_DISPATCH(in.scalar_type(), "max_backward_boxes", [&] {
      using T = Accumulator<scalar_t>;
      const Tensor sums = at::empty({result.size(0), 4}, in.options().dtype(kType<T>));
      with_max_call<scalar_t>(args, in, [&](const auto& call) {
        using Geometry = std::decay_t<decltype(call.geometry)>;
        const View<const scalar_t> grads = read<scalar_t>(g);
        const cuda::WinnerBoxGradient<scalar_t, Geometry> kernel{call, read<scalar_t>(in), grads,
            read<int32_t>(names), grads.channel_stride != 1, sums.template mutable_data_ptr<T>()};
        Launcher::launch(kernel, call.rois.count);
      });
      store_columns(result, sums);
    });
    return result;
  }

 private:
  // The box columns of a gradient, which are its last ones.
  static void store_columns(const Tensor& gradient, const Tensor& columns) {
    gradient.slice(1, gradient.size(1) - columns.size(1)).copy_(columns);
  }

  template <typename Kernel>
  static void launch_split(const Kernel& kernel, int64_t rois, const cuda::Split& split) {
    Launcher::launch(kernel, rois * split.row_parts * split.group_parts);
  }

  template <typename S, template <typename> typename Weight>
  static void gather(const RoiArgs& args, const Weight<Accumulator<S>>& weight, double empty,
      const Tensor& output) {
    using T = Accumulator<S>;
    if (output.numel() == 0) {
      return;
    }
    std::vector<Tensor> maps;
    for (const Tensor& map : args.inputs) {
      maps.push_back(with_item_stride(map));
    }
    const Tensor offset = offset_of<T>(args);
    with_block_taps<T>(args.call, map_sizes(maps), offset, [&](auto taps) {
      constexpr bool kPlain = std::is_same_v<Weight<T>, cuda::PlainWeight<T>>;
      const View<S> out = write<S>(output);
      if (kPlain && can_load_vectors<S>(args.call, maps, out)) {
        gather_as<S, Weight, kPlain>(args, taps, weight, empty, maps, out);
      } else {
        gather_as<S, Weight, false>(args, taps, weight, empty, maps, out);
      }
    });
  }

  template <typename S, template <typename> typename Weight, bool kVector, typename Taps>
  static void gather_as(const RoiArgs& args, Taps taps, const Weight<Accumulator<S>>& weight,
      double empty, const std::vector<Tensor>& maps, const View<S>& out) {
    using T = Accumulator<S>;
    using Kernel = cuda::Gather<S, Taps, Weight, kVector>;
    const int64_t groups = (out.channels + Kernel::kChannels - 1) / Kernel::kChannels;
    const RoiTable<T> rois = roi_table<T>(args, maps[0]);
    const cuda::Split split = cuda::split_of(taps.grid, rois.count, groups, Launcher::threads());
    cuda::limit_lists(taps, split.rows);
    Kernel kernel{
        taps, rois, weight, {}, out, static_cast<T>(empty), split, out.channel_stride != 1};
    for (size_t level = 0; level < maps.size(); ++level) {
      kernel.in[level] = map_view(args.call, read<S>(maps[level]));
    }
    launch_split(kernel, rois.count, split);
  }

  template <typename S, typename Source>
  static void scatter(const Source& source, const RoiArgs& args, const cuda::TileShape& shape,
      const Tensor& result) {
    using T = Accumulator<S>;
    const cuda::Scatter<S, Source> kernel{source, roi_table<T>(args, result), write<S>(result),
        map_size(result), shape.height, shape.width, shape.lanes};
    Launcher::launch(kernel, kernel.blocks());
  }

  template <typename S, typename Body>
  static void with_max_call(const RoiArgs& args, const Tensor& map, Body&& body) {
    using T = Accumulator<S>;
    with_max_geometry<T>(args.call, [&](const auto& geometry) {
      using Geometry = std::decay_t<decltype(geometry)>;
      body(cuda::MaxCall<Geometry>{geometry, map_size(map), roi_table<T>(args, map)});
    });
  }

  template <int32_t kChannels, typename Call>
  static cuda::Split split_of(const Call& call, const Tensor& output) {
    return cuda::split_of(call.geometry.bins, call.rois.count,
        (output.size(1) + kChannels - 1) / kChannels, Launcher::threads());
  }
};

}  // namespace roiops
