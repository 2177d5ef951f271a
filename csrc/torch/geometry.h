// From an operator's call to its geometry: the one place that tells the operators' mathematics
// apart.
#pragma once

#include "core/deform.h"
#include "core/levels.h"
#include "core/rotated.h"
#include "torch/prepare.h"
#include "torch/views.h"

namespace roiops {

inline std::vector<MapSize> map_sizes(const std::vector<Tensor>& maps) {
  std::vector<MapSize> sizes;
  for (const Tensor& map : maps) {
    sizes.push_back(map_size(map));
  }
  return sizes;
}

template <typename T>
struct DeformOptions {
  RoiAlignGeometry<T> geometry;
  T gamma;
};

// Calls body(geometry), in T, for an average-type operator: a vector of separable geometries, one
// per map, or RotatedOptions, or DeformOptions.
template <typename T, typename Body>
void with_geometry(const RoiCall& call, size_t maps, Body&& body) {
  const std::vector<double>& options = call.options;
  const MapSize bins = bin_grid(call);
  if (call.op == "roi_align" || call.op == "ps_roi_align") {
    body(std::vector{RoiAlignGeometry<T>{sampling_options(call), bins}});
  } else if (call.op == "ps_roi_pool") {
    body(std::vector{PixelGeometry<T>{options[0], /*extra_pixels=*/0, bins}});
  } else if (call.op == "crop_and_resize") {
    body(std::vector{CropGeometry<T>{options[0] != 0, bins}});
  } else if (call.op == "prroi_pool") {
    body(std::vector{IntegralGeometry<T>{options[0], bins}});
  } else if (call.op == "multiscale_roi_align") {
    std::vector<RoiAlignGeometry<T>> levels;
    const double wanted = options[kLevelOption];
    const auto first = static_cast<size_t>(wanted == kAllLevels ? 0 : wanted);
    for (size_t level = first; level < first + maps; ++level) {
      SamplingOptions sampling = sampling_options(call);
      sampling.spatial_scale = options[kLevelOption + 1 + level];
      levels.push_back({sampling, bins});
    }
    body(std::move(levels));
  } else if (call.op == "roi_align_rotated") {
    body(RotatedOptions<T>{sampling_options(call), options[3] != 0, bins});
  } else if (call.op == "deform_roi_pool") {
    body(DeformOptions<T>{{sampling_options(call), bins}, static_cast<T>(options[2])});
  } else {
    TORCH_INTERNAL_ASSERT(false, "roiops: internal error: no geometry for ", call.op);
  }
}

// The same for an operator that takes a maximum: one separable geometry.
template <typename T, typename Body>
void with_max_geometry(const RoiCall& call, Body&& body) {
  const MapSize bins = bin_grid(call);
  if (call.op == "roi_pool") {
    body(PixelGeometry<T>{call.options[0], /*extra_pixels=*/1, bins});
  } else {
    body(RoiAlignGeometry<T>{sampling_options(call), bins});
  }
}

// Which level each box of a feature pyramid belongs to.
template <typename T>
LevelRule<T> level_rule(const RoiCall& call) {
  const std::vector<double>& options = call.options;
  const size_t scales = kLevelOption + 1;
  return {T(options[2]), T(options[3]), T(first_level(options[scales])),
      static_cast<int32_t>(options.size() - scales)};
}

// The maps as a position-sensitive or an ordinary operator reads them: see NOTE [Channel map].
template <typename S>
View<S> map_view(const RoiCall& call, View<S> view) {
  if (is_position_sensitive(call)) {
    const int64_t bins = call.output_size[0].expect_int() * call.output_size[1].expect_int();
    view.bin_stride = view.channel_stride;
    view.channel_stride *= bins;
    view.channels /= bins;
  }
  return view;
}

}  // namespace roiops
