// From an operator's call to what its block kernels are given.
#pragma once

#include "cuda/plan.h"
#include "torch/geometry.h"

namespace roiops {

using cuda::RoiTable;

inline cuda::NumberType number_type(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return cuda::NumberType::kDouble;
    case at::kFloat:
      return cuda::NumberType::kFloat;
    case at::kHalf:
      return cuda::NumberType::kHalf;
    case at::kBFloat16:
      return cuda::NumberType::kBFloat16;
    case at::kInt:
      return cuda::NumberType::kInt;
    default:
      return cuda::NumberType::kLong;
  }
}

// A matrix, a column, or nothing.
inline cuda::Table table_of(const Tensor& t) {
  if (!t.defined()) {
    return {nullptr, cuda::NumberType::kDouble, 0, 0};
  }
  return {
      t.const_data_ptr(), number_type(t.scalar_type()), t.stride(0), t.dim() > 1 ? t.stride(1) : 0};
}

template <typename T>
Tensor in_type(const Tensor& t) {
  return t.defined() ? t.to(kType<T>).contiguous() : t;
}

template <typename T>
const T* pointer_to(const Tensor& t) {
  return t.defined() ? t.const_data_ptr<T>() : nullptr;
}

// Of deform_roi_pool; undefined for other operators.
template <typename T>
Tensor offset_of(const RoiArgs& args) {
  const bool floating = args.extra.defined() && at::isFloatingType(args.extra.scalar_type());
  return floating ? in_type<T>(args.extra) : Tensor();
}

template <typename T>
RoiTable<T> roi_table(const RoiArgs& args, const Tensor& map) {
  const bool crop = is_crop(args.call);
  RoiTable<T> table{table_of(args.boxes), table_of(crop ? args.extra : Tensor()),
      static_cast<int32_t>(args.boxes.size(1)) - (crop ? 0 : 1), args.boxes.size(0), map.size(0),
      false, -1, {}};
  if (args.call.op == "multiscale_roi_align") {
    table.pyramid = true;
    table.wanted_level = static_cast<int32_t>(args.call.options[kLevelOption]);
    table.rule = level_rule<T>(args.call);
  }
  return table;
}

template <typename Geometry>
auto block_taps_of(
    const std::vector<Geometry>& levels, const std::vector<MapSize>& maps, const Tensor&) {
  cuda::SeparableBlockTaps<Geometry> taps{};
  for (size_t level = 0; level < maps.size(); ++level) {
    taps.geometry[level] = levels[level];
    taps.map[level] = maps[level];
  }
  taps.grid = levels[0].bins;
  return taps;
}

template <typename T>
auto block_taps_of(
    const RotatedOptions<T>& options, const std::vector<MapSize>& maps, const Tensor&) {
  return cuda::RotatedBlockTaps<T>{options, {maps[0]}, options.bins};
}

template <typename T>
auto block_taps_of(
    const DeformOptions<T>& options, const std::vector<MapSize>& maps, const Tensor& offset) {
  return cuda::DeformBlockTaps<T>{
      options.geometry, {maps[0]}, options.geometry.bins, pointer_to<T>(offset), options.gamma};
}

// Calls body(taps) with the block taps of the call's operator, for geometry in T.
template <typename T, typename Body>
void with_block_taps(
    const RoiCall& call, const std::vector<MapSize>& maps, const Tensor& offset, Body&& body) {
  with_geometry<T>(call, maps.size(),
      [&](const auto& geometry) { body(block_taps_of(geometry, maps, offset)); });
}

// Whether groups of channels are neighbours in memory, aligned, in all maps and in the output.
template <typename S>
bool can_load_vectors(const RoiCall& call, const std::vector<Tensor>& maps, const View<S>& out) {
  constexpr int64_t kGroup = cuda::kWidth<S, true>;
  const auto fits = [&](const auto& view) {
    return view.channel_stride == 1 && view.outer_stride % kGroup == 0 &&
           view.item_stride % kGroup == 0 && reinterpret_cast<uintptr_t>(view.data) % 16 == 0;
  };
  bool fit = fits(out) && out.channels % kGroup == 0 && !is_position_sensitive(call);
  for (const Tensor& map : maps) {
    fit = fit && fits(read<S>(map));
  }
  return fit;
}

}  // namespace roiops
