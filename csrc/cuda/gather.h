// out = A in: the taps of every bin applied to the features. Forward, double backward, tangents.
#pragma once

#include "cuda/block_taps.h"
#include "cuda/cells.h"

namespace roiops::cuda {

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
    T box[kMostColumns], extra[2];
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
    const int64_t groups = (out.channels + kChannels - 1) / kChannels;
    const Piece piece = piece_of(split, context.block, taps.grid.height, groups);
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        *s.roi = rois.read(piece.roi);
      }
    });
    const MapReach pixels = whole(taps.map[s.roi->level < 0 ? 0 : s.roi->level]);
    taps.prepare(context, s.taps, s.roi, {piece.first_row, piece.rows, pixels});
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
    const S* const base = map.at(s.roi->image, cell.channel, 0) + bin * map.bin_stride;
    const int32_t width = taps.map[level].width;
    const auto weigh = weight.of(rois, s.roi->number, bin, bins);
    Lanes<T, kChannels> sum{};
    bool any = false;
    taps.visit(
        s.taps, cell.p, cell.q, whole(taps.map[level]), [&](int32_t y, int32_t x, const auto& tap) {
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
    S* const to = out.at(s.roi->number, cell.channel, bin);
    sum.template store<kVector>(to, out.channel_stride, lanes);
  }
};

}  // namespace roiops::cuda
