// The three products along the winners of a maximum.
#pragma once

#include "cuda/box_gradient.h"
#include "cuda/max_call.h"
#include "cuda/scatter.h"

namespace roiops::cuda {

// out = the winners' taps applied to in.
template <typename S, typename Geometry, template <typename> typename Weight>
struct GatherWinners {
  using T = Accumulator<S>;

  MaxCall<Geometry> call;
  Weight<T> weight;
  View<const S> in;
  View<const int32_t> name;
  View<S> out;
  Split split;
  bool bins_fastest;

  C10_HOST_DEVICE MaxRoi<Geometry>* share(Arena& arena, int32_t) const {
    return arena.take<MaxRoi<Geometry>>(1);
  }

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena& arena) const {
    for_each_cell(context, share(arena, context.threads), call, split, /*width=*/1, out.channels,
        bins_fastest, [&](const Cell& cell, const MaxRoi<Geometry>& roi) {
          const int64_t bin = call.bin(cell), number = roi.roi.number;
          const auto weigh = weight.of(call.rois, number, bin, /*bins=*/1);
          const S* const base = in.at(roi.roi.image, cell.channel, 0);
          T sum = T(0);
          bool first = true;
          const int32_t named = *name.at(number, cell.channel, bin);
          call.winner(roi, cell.p, cell.q, named)
              .for_each_tap([&](int32_t y, int32_t x, const SeparableTap<T>& tap) {
                const T term =
                    weigh(tap) *
                    static_cast<T>(base[(int64_t{y} * call.map.width + x) * in.item_stride]);
                sum = first ? term : sum + term;
                first = false;
              });
          *out.at(number, cell.channel, bin) = static_cast<S>(sum);
        });
  }
};

// See NOTE [Tiles].
template <typename S, typename Geometry>
struct WinnerSource {
  using T = Accumulator<S>;

  MaxCall<Geometry> call;
  View<const S> grad;
  View<const int32_t> name;

  using Shared = MaxRoi<Geometry>*;
  C10_HOST_DEVICE Shared share(Arena& arena, int32_t) const {
    return arena.take<MaxRoi<Geometry>>(1);
  }

  C10_HOST_DEVICE MapReach reach(const Roi& roi) const {
    return reach_of(call.geometry.decode(roi.row, call.map), call.map);
  }

  template <typename Context, typename ForEachOwner>
  C10_HOST_DEVICE void add(Context& context, Shared s, const Roi* roi, const Tile& tile,
      ForEachOwner&& for_each_owner) const {
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        *s = {call.geometry.decode(roi->row, call.map), *roi};
      }
    });
    context.phase([&](int32_t thread) {
      for_each_owner(thread, [&](int64_t channel, const Owned<T>& owned) {
        const MapSize bins = call.geometry.bins;
        for (int32_t p = 0; p < bins.height; ++p) {
          if (!bin_reach(s->axes.y, p, call.map.height).meets(tile.pixels.y)) {
            continue;
          }
          for (int32_t q = 0; q < bins.width; ++q) {
            if (bin_reach(s->axes.x, q, call.map.width).meets(tile.pixels.x)) {
              add_bin(*s, channel, p, q, owned);
            }
          }
        }
      });
    });
  }

 private:
  C10_HOST_DEVICE void add_bin(const MaxRoi<Geometry>& s, int64_t channel, int32_t p, int32_t q,
      const Owned<T>& owned) const {
    const int64_t bin = int64_t{p} * call.geometry.bins.width + q;
    const int32_t named = *name.at(s.roi.number, channel, bin);
    const T value = static_cast<T>(*grad.at(s.roi.number, channel, bin));
    call.winner(s, p, q, named).for_each_tap([&](int32_t y, int32_t x, const SeparableTap<T>& tap) {
      owned.add(y, x, tap.weight() * value);
    });
  }
};

// As BoxGradient, along the winners. A block has all bins and channels of a RoI.
template <typename S, typename Geometry>
struct WinnerBoxGradient {
  using T = Accumulator<S>;
  static constexpr int kColumns = 4;

  MaxCall<Geometry> call;
  View<const S> in;
  View<const S> grad;
  View<const int32_t> name;
  bool bins_fastest;
  T* box;  // [K, kColumns]

  struct Shared {
    MaxRoi<Geometry>* roi;
    T* box;  // [threads, kColumns]
  };
  C10_HOST_DEVICE Shared share(Arena& arena, int32_t threads) const {
    return {arena.take<MaxRoi<Geometry>>(1), arena.take<T>(threads * kColumns)};
  }

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena& arena) const {
    const Shared s = share(arena, context.threads);
    const MapSize bins = call.geometry.bins;
    const Piece piece{context.block, 0, bins.height, 0, grad.channels};
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        *s.roi = call.read(piece.roi);
      }
    });
    context.phase([&](int32_t thread) {
      T sum[kColumns] = {};
      const int64_t cells = int64_t{bins.height} * bins.width * piece.groups;
      for (int64_t i = thread; i < cells; i += context.threads) {
        add(*s.roi, cell_of(piece, i, bins.width, /*width=*/1, bins_fastest), sum);
      }
      for (int j = 0; j < kColumns; ++j) {
        s.box[thread * kColumns + j] = sum[j];
      }
    });
    sum_over_threads<kColumns>(context, s.box);
    context.phase([&](int32_t thread) {
      if (thread < kColumns) {
        box[piece.roi * kColumns + thread] = s.box[thread];
      }
    });
  }

 private:
  C10_HOST_DEVICE void add(const MaxRoi<Geometry>& roi, const Cell& cell, T* sum) const {
    const int64_t bin = call.bin(cell), number = roi.roi.number;
    const int32_t named = *name.at(number, cell.channel, bin);
    const T g = static_cast<T>(*grad.at(number, cell.channel, bin));
    const S* const base = in.at(roi.roi.image, cell.channel, 0);
    call.winner(roi, cell.p, cell.q, named)
        .for_each_tap([&](int32_t y, int32_t x, const SeparableTap<T>& tap) {
          const int64_t pixel = int64_t{y} * call.map.width + x;
          tap.add_gradient(g * static_cast<T>(base[pixel * in.item_stride]), sum, nullptr);
        });
  }
};

}  // namespace roiops::cuda
