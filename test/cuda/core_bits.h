// Fingerprints of everything that csrc/core computes for a box: test_core_bits.py compares those of
// g++, of nvcc on the host and, where there is a GPU, of the device.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "core/axis_samples.h"
#include "core/levels.h"
#include "core/rotated.h"
#include "core/separable.h"

namespace roiops {

struct Box {
  double roi[6];  // image, x1, y1, x2, y2, angle
};

struct Options {
  SamplingOptions sampling;
  MapSize bins;
};

constexpr MapSize kMap = {11, 13};
constexpr Options kOptions[] = {
    {{1.0, -1, false}, {7, 5}},
    {{0.25, 2, true}, {7, 7}},
    {{1.0 / 16, 0, true}, {1, 2}},
    {{0.3, 3, false}, {3, 4}},
};
constexpr const char* kQuantities[] = {"samples", "pixels", "crop", "integral", "level", "rotated"};
constexpr int kOptionCount = static_cast<int>(std::size(kOptions));
constexpr int kQuantityCount = static_cast<int>(std::size(kQuantities));

struct Fingerprints {
  uint64_t of[2][kOptionCount][kQuantityCount];  // float, double
};

// FNV-1a, 64 bits at a time.
class Hash {
 public:
  uint64_t value = 14695981039346656037u;

  C10_HOST_DEVICE void add(int64_t number) {
    value = (value ^ static_cast<uint64_t>(number)) * 1099511628211u;
  }
  C10_HOST_DEVICE void add(float number) {
    add(static_cast<double>(number));
  }
  C10_HOST_DEVICE void add(double number) {
    int64_t bits = 0;
    std::memcpy(&bits, &number, sizeof(bits));
    add(number == number ? bits : int64_t{-1});  // any NaN is as good as another
  }
  template <typename T>
  C10_HOST_DEVICE void add(const AxisTap<T>& tap) {
    add(int64_t{tap.pixel});
    add(tap.weight);
    add(tap.slope_low);
    add(tap.slope_high);
  }
};

template <typename Axis, typename T>
C10_HOST_DEVICE void add_taps(Hash& hash, const Axis& axis, int32_t bins, int32_t pixels, T) {
  AxisTap<T> taps[kMap.width];
  for (int32_t p = 0; p < bins; ++p) {
    hash.add(max_axis_taps(axis, p, pixels));
    const int64_t count = axis_taps(axis, p, pixels, taps);
    hash.add(count);
    for (int64_t i = 0; i < count; ++i) {
      hash.add(taps[i]);
    }
  }
}

template <typename Axis, typename T>
C10_HOST_DEVICE void add_samples(Hash& hash, const Axis& axis, int32_t bins, int32_t pixels, T) {
  for (int32_t p = 0; p < bins; ++p) {
    const SampleRange<T> range = samples_of(axis, p, pixels);
    hash.add(range.count);
    for (int64_t i = 0; i < range.count; ++i) {
      const AxisSample<T> sample = axis_sample(axis, p, pixels, range.first + T(i));
      for (int32_t j = 0; j < sample.count; ++j) {
        hash.add(sample.tap[j]);
      }
    }
  }
}

template <typename Geometry>
C10_HOST_DEVICE void add_geometry(Hash& hash, const Geometry& geometry, const Box& box) {
  const auto roi = geometry.decode(box.roi, kMap);
  const typename Geometry::Scalar type = 0;
  add_taps(hash, roi.y, geometry.bins.height, kMap.height, type);
  add_taps(hash, roi.x, geometry.bins.width, kMap.width, type);
}

template <typename Geometry>
C10_HOST_DEVICE void add_geometry_samples(Hash& hash, const Geometry& geometry, const Box& box) {
  const auto roi = geometry.decode(box.roi, kMap);
  const typename Geometry::Scalar type = 0;
  add_samples(hash, roi.y, geometry.bins.height, kMap.height, type);
  add_samples(hash, roi.x, geometry.bins.width, kMap.width, type);
}

template <typename T>
C10_HOST_DEVICE void add_rotated(Hash& hash, const Options& options, const Box& box, T) {
  const RotatedRoi<T> roi =
      rotated_roi<T>(box.roi, RotatedOptions<T>{options.sampling, false, options.bins});
  for (int32_t p = 0; p < options.bins.height; ++p) {
    const SampleRange<T> rows = roi.rows(p, whole(kMap));
    hash.add(rows.first);
    hash.add(rows.count);
    const SampleRange<T> columns = roi.columns(p, 0, rows.first, whole(kMap));
    hash.add(columns.first);
    hash.add(columns.count);
    const RotatedSample<T> sample = roi.sample(p, 0, rows.first, columns.first);
    hash.add(sample.y);
    hash.add(sample.x);
  }
}

template <typename T>
C10_HOST_DEVICE void fingerprints_of(
    const Box& box, const Options& options, uint64_t (&of)[kQuantityCount], T type) {
  Hash samples, pixels, crop, integral, level, rotated;
  const double scale = options.sampling.spatial_scale;
  const RoiAlignGeometry<T> align = {options.sampling, options.bins};
  add_geometry(samples, align, box);
  add_geometry_samples(samples, align, box);
  for (const int32_t extra : {0, 1}) {
    const PixelGeometry<T> pool = {scale, extra, options.bins};
    add_geometry(pixels, pool, box);
    add_geometry_samples(pixels, pool, box);
  }
  for (const bool nearest : {false, true}) {
    Box normalised = box;
    for (double& coordinate : normalised.roi) {
      coordinate = coordinate / 16;
    }
    add_geometry(crop, CropGeometry<T>{nearest, options.bins}, normalised);
  }
  add_geometry(integral, IntegralGeometry<T>{scale, options.bins}, box);
  const double* const roi = box.roi;
  const LevelRule<T> rule = {T(4), T(1), T(first_level(scale)), 4};
  level.add(int64_t{level_of(rule, T(roi[1]), T(roi[2]), T(roi[3]), T(roi[4]))});
  add_rotated(rotated, options, box, type);
  const Hash* const all[] = {&samples, &pixels, &crop, &integral, &level, &rotated};
  for (int i = 0; i < kQuantityCount; ++i) {
    of[i] = all[i]->value;
  }
}

C10_HOST_DEVICE inline void fingerprint(
    const Box& box, const Options* options, Fingerprints& result) {
  for (int i = 0; i < kOptionCount; ++i) {
    fingerprints_of(box, options[i], result.of[0][i], float(0));
    fingerprints_of(box, options[i], result.of[1][i], double(0));
  }
}

inline std::vector<Box> read_boxes(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  std::vector<Box> boxes(bytes.size() / sizeof(Box));
  std::memcpy(boxes.data(), bytes.data(), boxes.size() * sizeof(Box));
  return boxes;
}

inline void print(const std::vector<Fingerprints>& results) {
  for (size_t box = 0; box < results.size(); ++box) {
    for (int type = 0; type < 2; ++type) {
      for (int i = 0; i < kOptionCount; ++i) {
        for (int j = 0; j < kQuantityCount; ++j) {
          std::printf("%zu %s %d %s %016llx\n", box, type == 0 ? "float" : "double", i,
              kQuantities[j], static_cast<unsigned long long>(results[box].of[type][i][j]));
        }
      }
    }
  }
}

inline std::vector<Fingerprints> fingerprints_on_host(const std::vector<Box>& boxes) {
  std::vector<Fingerprints> results(boxes.size());
  for (size_t i = 0; i < boxes.size(); ++i) {
    fingerprint(boxes[i], kOptions, results[i]);
  }
  return results;
}

}  // namespace roiops
