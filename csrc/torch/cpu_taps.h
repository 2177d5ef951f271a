// From an operator's call to its tap lister: the one place of the CPU backend that tells the
// operators apart.
#pragma once

#include "cpu/deform_taps.h"
#include "cpu/rotated_taps.h"
#include "cpu/separable_taps.h"
#include "torch/cpu_rois.h"
#include "torch/cpu_views.h"
#include "torch/prepare.h"

namespace roiops {

inline std::vector<MapSize> map_sizes(const std::vector<Tensor>& maps) {
  std::vector<MapSize> sizes;
  for (const Tensor& map : maps) {
    sizes.push_back(map_size(map));
  }
  return sizes;
}

// Calls body(lister) with the lister of the call's operator, for geometry in T.
template <typename T, typename Body>
void with_taps(
    const RoiCall& call, const std::vector<MapSize>& maps, const Boxes& boxes, Body&& body) {
  const std::vector<double>& options = call.options;
  const MapSize bins = bin_grid(call);
  const auto separable = [&]<typename Geometry>(std::vector<Geometry> levels) {
    body(cpu::SeparableTaps<Geometry>(std::move(levels), maps));
  };
  if (call.op == "roi_align" || call.op == "ps_roi_align") {
    separable(std::vector{RoiAlignGeometry<T>{sampling_options(call), bins}});
  } else if (call.op == "ps_roi_pool") {
    separable(std::vector{PixelGeometry<T>{options[0], /*extra_pixels=*/0, bins}});
  } else if (call.op == "crop_and_resize") {
    separable(std::vector{CropGeometry<T>{options[0] != 0, bins}});
  } else if (call.op == "prroi_pool") {
    separable(std::vector{IntegralGeometry<T>{options[0], bins}});
  } else if (call.op == "multiscale_roi_align") {
    std::vector<RoiAlignGeometry<T>> levels;
    const double wanted = options[kLevelOption];
    const auto first = static_cast<size_t>(wanted == kAllLevels ? 0 : wanted);
    for (size_t level = first; level < first + maps.size(); ++level) {
      SamplingOptions sampling = sampling_options(call);
      sampling.spatial_scale = options[kLevelOption + 1 + level];
      levels.push_back({sampling, bins});
    }
    separable(std::move(levels));
  } else if (call.op == "roi_align_rotated") {
    body(cpu::RotatedTaps<T>({sampling_options(call), options[3] != 0, bins}, maps[0]));
  } else if (call.op == "deform_roi_pool") {
    const double* const offset =
        boxes.offset.defined() ? boxes.offset.const_data_ptr<double>() : nullptr;
    body(cpu::DeformTaps<T>({sampling_options(call), bins}, maps[0], offset, options[2]));
  } else {
    TORCH_INTERNAL_ASSERT(false, "roiops: internal error: no taps for ", call.op);
  }
}

}  // namespace roiops
