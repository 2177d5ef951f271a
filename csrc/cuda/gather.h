// out = A in: the taps of every bin applied to the features. Forward, double backward, tangents.
#pragma once

#include "core/view.h"
#include "cuda/block_taps.h"

namespace roiops::cuda {

// A thread computes so many neighbouring channels of a bin at a time: one 16-byte load of
// channels_last features, or a few of separate planes.
template <typename S, bool kVector>
inline constexpr int32_t kWidth = kVector ? 16 / int32_t{sizeof(S)} : 4;

// How a call is cut into blocks: RoIs, rows of their bins, groups of kWidth channels.
struct Split {
  int32_t rows, row_parts;      // rows of bins per block, blocks per RoI
  int32_t groups, group_parts;  // of channels
};

struct Piece {
  int64_t roi;
  int32_t first_row, rows;
  int32_t first_group, groups;
};

C10_HOST_DEVICE inline Piece piece_of(
    const Split& split, int64_t block, int32_t rows, int32_t groups) {
  const auto group_part = static_cast<int32_t>(block % split.group_parts);
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
  int32_t channel;  // first of the group
};

C10_HOST_DEVICE inline Cell cell_of(
    const Piece& piece, int64_t number, int32_t columns, int32_t width, bool bins_fastest) {
  const int64_t bins = int64_t{piece.rows} * columns;
  const auto bin = static_cast<int32_t>(bins_fastest ? number % bins : number / piece.groups);
  const auto group = static_cast<int32_t>(bins_fastest ? number / bins : number % piece.groups);
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

// Which entry of the matrix a tap stands for: its weight ...
template <typename T>
struct PlainWeight {
  struct Of {
    template <typename Tap>
    C10_HOST_DEVICE T operator()(const Tap& tap) const {
      return tap.weight();
    }
  };
  C10_HOST_DEVICE Of of(const RoiTable<T>&, int64_t, int64_t, int64_t) const {
    return {};
  }
};

// ... or its derivative along a tangent of the boxes and of the bins' offsets.
template <typename T>
struct TangentWeight {
  Table boxes;     // like the boxes; no data: they do not move
  const T* extra;  // [K, 2, PH, PW], or null

  struct Of {
    T box[5], extra[2];
    template <typename Tap>
    C10_HOST_DEVICE T operator()(const Tap& tap) const {
      return tap.tangent(box, extra);
    }
  };
  C10_HOST_DEVICE Of of(const RoiTable<T>& rois, int64_t roi, int64_t bin, int64_t bins) const {
    Of of{};
    if (boxes.data) {
      rois.read_box(boxes, roi, of.box);
    }
    for (int32_t i = 0; extra && i < 2; ++i) {
      of.extra[i] = extra[(roi * 2 + i) * bins + bin];
    }
    return of;
  }
};

// kVector: channels are neighbours in memory, whole groups of them, aligned.
template <typename S, typename Taps, template <typename> typename Weight, bool kVector>
struct Gather {
  using T = Accumulator<S>;
  static constexpr int32_t kChannels = kWidth<S, kVector>;

  Taps taps;
  RoiTable<T> rois;
  Weight<T> weight;
  View<const S> in[kMaxLevels];
  View<S> out;
  T empty;  // value of a bin without taps
  Split split;
  bool bins_fastest;

  struct Shared {
    Roi* roi;
    typename Taps::Shared taps;
  };
  C10_HOST_DEVICE Shared share(Arena& arena, int32_t) const {
    return {arena.take<Roi>(1), taps.share(arena)};
  }

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena& arena) const {
    const Shared s = share(arena, context.threads);
    const auto groups = static_cast<int32_t>((out.channels + kChannels - 1) / kChannels);
    const Piece piece = piece_of(split, context.block, taps.grid.height, groups);
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        *s.roi = rois.read(piece.roi);
      }
    });
    const MapReach everywhere{{0, INT32_MAX}, {0, INT32_MAX}};
    taps.prepare(context, s.taps, s.roi, {piece.first_row, piece.rows, everywhere});
    context.phase([&](int32_t thread) {
      const int64_t cells = int64_t{piece.rows} * taps.grid.width * piece.groups;
      for (int64_t i = thread; i < cells; i += context.threads) {
        gather(s, cell_of(piece, i, taps.grid.width, kChannels, bins_fastest));
      }
    });
  }

 private:
  C10_HOST_DEVICE void gather(const Shared& s, const Cell& cell) const {
    const int32_t level = s.roi->level < 0 ? 0 : s.roi->level;
    const View<const S>& map = in[level];
    const int64_t bins = int64_t{taps.grid.height} * taps.grid.width;
    const int64_t bin = int64_t{cell.p} * taps.grid.width + cell.q;
    const int64_t left = out.channels - cell.channel;
    const int32_t lanes = left < kChannels ? static_cast<int32_t>(left) : kChannels;
    const S* const base = map.data + s.roi->image * map.outer_stride +
                          cell.channel * map.channel_stride + bin * map.bin_stride;
    const int32_t width = taps.map[level].width;
    const auto weigh = weight.of(rois, s.roi->number, bin, bins);
    Lanes<T, kChannels> sum{};
    bool any = false;
    taps.visit(s.taps, cell.p, cell.q, [&](int32_t y, int32_t x, const auto& tap) {
      const T w = weigh(tap);
      const auto value = Lanes<T, kChannels>::template load<kVector>(
          base + (int64_t{y} * width + x) * map.item_stride, map.channel_stride, lanes);
      for (int32_t i = 0; i < kChannels; ++i) {
        sum.value[i] = multiply_add(w, value.value[i], sum.value[i]);
      }
      any = true;
    });
    for (int32_t i = 0; i < kChannels && !any; ++i) {
      sum.value[i] = empty;
    }
    S* const to = out.data + s.roi->number * out.outer_stride + cell.channel * out.channel_stride +
                  bin * out.item_stride;
    sum.template store<kVector>(to, out.channel_stride, lanes);
  }
};

}  // namespace roiops::cuda
