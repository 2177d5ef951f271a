// The geometries whose taps are the outer product of two axes: one struct per op family that turns
// a row of boxes, (image, x1, y1, x2, y2), into its two axes.
#pragma once

#include "core/axis_taps.h"
#include "core/crop_axis.h"
#include "core/integral_axis.h"
#include "core/pixel_bins.h"

namespace roiops {

struct MapSize {
  int32_t height, width;
};

// Some pixels of a map.
struct MapReach {
  AxisReach y, x;

  C10_HOST_DEVICE bool empty() const {
    return y.first >= y.end || x.first >= x.end;
  }
  C10_HOST_DEVICE bool contains(int32_t row, int32_t column) const {
    return y.contains(row) && x.contains(column);
  }
  C10_HOST_DEVICE bool meets(const MapReach& other) const {
    return y.meets(other.y) && x.meets(other.x);
  }
};

C10_HOST_DEVICE inline MapReach whole(MapSize map) {
  return {{0, map.height}, {0, map.width}};
}

// A tap and its derivative by the box (x1, y1, x2, y2), as the product of its two axes.
template <typename T>
struct SeparableTap {
  const AxisTap<T>& y;
  const AxisTap<T>& x;

  C10_HOST_DEVICE T weight() const {
    return y.weight * x.weight;
  }
  C10_HOST_DEVICE T tangent(const T* box, const T*) const {
    return (y.slope_low * box[1] + y.slope_high * box[3]) * x.weight +
           y.weight * (x.slope_low * box[0] + x.slope_high * box[2]);
  }
  // A slope of zero adds nothing, even where the map is inf.
  C10_HOST_DEVICE void add_gradient(T product, T* box, T*) const {
    const T slopes[4] = {x.slope_low * y.weight, y.slope_low * x.weight, x.slope_high * y.weight,
        y.slope_high * x.weight};
    for (int i = 0; i < 4; ++i) {
      if (slopes[i] != T(0)) {
        box[i] += product * slopes[i];
      }
    }
  }
};

template <typename Axis>
struct SeparableRoi {
  Axis y, x;
};

// roi_align (Mask R-CNN, arXiv:1703.06870, section 3) and ps_roi_align.
template <typename T>
struct RoiAlignGeometry {
  using Scalar = T;
  using Axis = SampleAxis<T>;
  SamplingOptions options;
  MapSize bins;

  C10_HOST_DEVICE SeparableRoi<Axis> decode(const double* roi, MapSize) const {
    return {sample_axis(T(roi[2]), T(roi[4]), bins.height, options),
        sample_axis(T(roi[1]), T(roi[3]), bins.width, options)};
  }
};

// ps_roi_pool (R-FCN, arXiv:1605.06409, as torchvision quantises it) and roi_pool (Fast R-CNN,
// arXiv:1504.08083), whose high coordinates name the last pixel.
template <typename T>
struct PixelGeometry {
  using Scalar = T;
  using Axis = PixelAxis<T>;
  double spatial_scale;
  int32_t extra_pixels;
  MapSize bins;

  C10_HOST_DEVICE SeparableRoi<Axis> decode(const double* roi, MapSize) const {
    return {pixel_axis(T(roi[2]), T(roi[4]), bins.height, spatial_scale, extra_pixels),
        pixel_axis(T(roi[1]), T(roi[3]), bins.width, spatial_scale, extra_pixels)};
  }
};

// TensorFlow's crop_and_resize.
template <typename T>
struct CropGeometry {
  using Scalar = T;
  using Axis = CropAxis<T>;
  bool nearest;
  MapSize bins;

  C10_HOST_DEVICE SeparableRoi<Axis> decode(const double* roi, MapSize map) const {
    return {{T(roi[2]), T(roi[4]), T(map.height - 1), bins.height, nearest},
        {T(roi[1]), T(roi[3]), T(map.width - 1), bins.width, nearest}};
  }
};

// Precise RoI pooling (arXiv:1807.11590, section 3.3).
template <typename T>
struct IntegralGeometry {
  using Scalar = T;
  using Axis = IntegralAxis<T>;
  double spatial_scale;
  MapSize bins;

  C10_HOST_DEVICE SeparableRoi<Axis> decode(const double* roi, MapSize) const {
    return {integral_axis(T(roi[2]), T(roi[4]), bins.height, spatial_scale),
        integral_axis(T(roi[1]), T(roi[3]), bins.width, spatial_scale)};
  }
};

}  // namespace roiops
