// From an operator's geometry to its tap lister: see NOTE [Listers].
#pragma once

#include "cpu/deform_taps.h"
#include "cpu/rotated_taps.h"
#include "cpu/separable_taps.h"
#include "torch/cpu_rois.h"
#include "torch/geometry.h"

namespace roiops {

template <typename Geometry>
auto lister_of(std::vector<Geometry> levels, const std::vector<MapSize>& maps, const Boxes&) {
  return cpu::SeparableTaps<Geometry>(std::move(levels), maps);
}

template <typename T>
auto lister_of(const RotatedOptions<T>& options, const std::vector<MapSize>& maps, const Boxes&) {
  return cpu::RotatedTaps<T>(options, maps[0]);
}

template <typename T>
auto lister_of(
    const DeformOptions<T>& options, const std::vector<MapSize>& maps, const Boxes& boxes) {
  const double* const offset =
      boxes.offset.defined() ? boxes.offset.const_data_ptr<double>() : nullptr;
  return cpu::DeformTaps<T>(options.geometry, maps[0], offset, options.gamma);
}

// Calls body(lister) with the lister of the call's operator, for geometry in T.
template <typename T, typename Body>
void with_taps(
    const RoiCall& call, const std::vector<MapSize>& maps, const Boxes& boxes, Body&& body) {
  with_geometry<T>(
      call, maps.size(), [&](auto geometry) { body(lister_of(std::move(geometry), maps, boxes)); });
}

}  // namespace roiops
