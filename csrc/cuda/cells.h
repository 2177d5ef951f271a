// What threads compute: bins by groups of channels, cut into pieces for blocks.
#pragma once

#include <cstdint>

#include <c10/macros/Macros.h>

#include "core/view.h"

namespace roiops::cuda {

// A thread computes so many neighbouring channels of a bin at a time: one 16-byte load of
// channels_last features, or a few of separate planes.
template <typename S, bool kVector>
inline constexpr int32_t kWidth = kVector ? 16 / int32_t{sizeof(S)} : 4;

// How a call is cut into blocks: RoIs, rows of their bins, groups of kWidth channels.
struct Split {
  int32_t rows, row_parts;      // rows of bins per block, blocks per RoI
  int64_t groups, group_parts;  // of channels
};

struct Piece {
  int64_t roi;
  int32_t first_row, rows;
  int64_t first_group, groups;
};

C10_HOST_DEVICE inline Piece piece_of(
    const Split& split, int64_t block, int32_t rows, int64_t groups) {
  const int64_t group_part = block % split.group_parts;
  const int64_t rest = block / split.group_parts;
  Piece piece{rest / split.row_parts, static_cast<int32_t>(rest % split.row_parts) * split.rows,
      split.rows, group_part * split.groups, split.groups};
  piece.rows = rows - piece.first_row < piece.rows ? rows - piece.first_row : piece.rows;
  piece.groups =
      groups - piece.first_group < piece.groups ? groups - piece.first_group : piece.groups;
  return piece;
}

// A bin and a group of channels, so that neighbouring threads touch neighbouring memory.
struct Cell {
  int32_t p, q;     // of the bin
  int64_t channel;  // first of the group
};

C10_HOST_DEVICE inline Cell cell_of(
    const Piece& piece, int64_t number, int32_t columns, int32_t width, bool bins_fastest) {
  const int64_t bins = int64_t{piece.rows} * columns;
  const auto bin = static_cast<int32_t>(bins_fastest ? number % bins : number / piece.groups);
  const int64_t group = bins_fastest ? number / bins : number % piece.groups;
  return {piece.first_row + bin / columns, bin % columns, (piece.first_group + group) * width};
}

// Some neighbouring channels of one item; `lanes` of them exist.
template <typename T, int32_t kCount>
struct Lanes {
  T value[kCount];

  template <bool kVector, typename S>
  C10_HOST_DEVICE static Lanes load(const S* at, int64_t stride, int32_t lanes) {
    Lanes loaded{};
    if constexpr (kVector) {
      struct alignas(16) Pack {
        S value[kCount];
      };
      const Pack pack = *reinterpret_cast<const Pack*>(at);
      for (int32_t i = 0; i < kCount; ++i) {
        loaded.value[i] = static_cast<T>(pack.value[i]);
      }
    } else {
      for (int32_t i = 0; i < kCount; ++i) {
        if (i < lanes) {
          loaded.value[i] = static_cast<T>(at[i * stride]);
        }
      }
    }
    return loaded;
  }

  template <bool kVector, typename S>
  C10_HOST_DEVICE void store(S* at, int64_t stride, int32_t lanes) const {
    if constexpr (kVector) {
      struct alignas(16) Pack {
        S value[kCount];
      };
      Pack pack;
      for (int32_t i = 0; i < kCount; ++i) {
        pack.value[i] = static_cast<S>(value[i]);
      }
      *reinterpret_cast<Pack*>(at) = pack;
    } else {
      for (int32_t i = 0; i < kCount; ++i) {
        if (i < lanes) {
          at[i * stride] = static_cast<S>(value[i]);
        }
      }
    }
  }
};

}  // namespace roiops::cuda
