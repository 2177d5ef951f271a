// How a call is cut into blocks. Figures are for a GPU of about a hundred multiprocessors; no
// result depends on them but for the rounding of box gradients.
#pragma once

#include <algorithm>

#include "cuda/gather.h"

namespace roiops::cuda {

inline constexpr int64_t kManyBlocks = 1024;   // keep a large GPU busy
inline constexpr int64_t kCellsPerThread = 8;  // enough to pay for the taps' listing
inline constexpr int64_t kListBytes = 16384;   // of shared memory, for the taps of the axes
inline constexpr int64_t kPanelBytes = 32768;
inline constexpr int32_t kTileEntries = 512;

inline Split split_of(MapSize bins, int64_t rois, int64_t groups, int32_t threads) {
  const int64_t cells = int64_t{bins.height} * bins.width * groups;
  const int64_t wanted =
      std::clamp(rois * cells / kManyBlocks, int64_t{threads}, kCellsPerThread * threads);
  Split split{};
  split.rows = static_cast<int32_t>(std::clamp<int64_t>(wanted / bins.width, 1, bins.height));
  split.groups = std::clamp<int64_t>(wanted / (int64_t{split.rows} * bins.width), 1, groups);
  split.row_parts = (bins.height + split.rows - 1) / split.rows;
  split.group_parts = (groups + split.groups - 1) / split.groups;
  // Parts of equal size.
  split.rows = (bins.height + split.row_parts - 1) / split.row_parts;
  split.groups = (groups + split.group_parts - 1) / split.group_parts;
  return split;
}

// Room for the axes' taps when a block lists so many rows of bins, of `most` taps each.
template <typename Taps>
void limit_lists(Taps& taps, int32_t rows, int32_t most = 64) {
  if constexpr (requires { taps.capacity; }) {
    const int64_t slots = int64_t{rows} + taps.grid.width;
    const int64_t fit = kListBytes / (slots * int64_t{sizeof(AxisTap<typename Taps::T>)}) - 1;
    constexpr int64_t kWorthIt = 4;
    taps.rows = rows;
    taps.capacity = fit < kWorthIt ? 0 : static_cast<int32_t>(std::min<int64_t>(fit, most));
  }
}

struct TileShape {
  int32_t height, width, lanes;
};

inline int32_t power_of_two_for(int64_t count, int64_t most) {
  int64_t power = 1;
  while (power < count && power < most) {
    power *= 2;
  }
  return static_cast<int32_t>(power);
}

// Many channels and few pixels, or few and many; smaller ones where that gives too few blocks.
template <typename T>
TileShape tile_shape(int64_t images, int64_t channels, MapSize map, int32_t threads) {
  constexpr int64_t kFewLanes = 32;
  const auto most = std::min<int64_t>(threads, kPanelBytes / (64 * int64_t{sizeof(T)}));
  TileShape shape{8, 8, power_of_two_for(channels, most)};
  while (
      int64_t{shape.height} * shape.width * 4 * shape.lanes * int64_t{sizeof(T)} <= kPanelBytes &&
      shape.height < 32) {
    shape.height *= 2;
    shape.width *= 2;
  }
  const auto blocks = [&] {
    const auto parts = [](int64_t count, int64_t size) { return (count + size - 1) / size; };
    return images * parts(map.height, shape.height) * parts(map.width, shape.width) *
           parts(channels, shape.lanes);
  };
  while (blocks() < kManyBlocks / 4 && shape.height > 8) {
    shape.height /= 2;
    shape.width /= 2;
  }
  while (blocks() < kManyBlocks / 4 && shape.lanes > kFewLanes) {
    shape.lanes /= 2;
  }
  return shape;
}

}  // namespace roiops::cuda
