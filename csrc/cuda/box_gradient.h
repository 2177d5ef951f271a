// Backward by the boxes and offsets: the sum over taps and channels of grad * in * d weight.
#pragma once

#include "cuda/gather.h"

namespace roiops::cuda {

// Adds the rows of a matrix [threads, kColumns] into its first one, in a fixed order; the number of
// threads is a power of two.
template <int kColumns, typename Context, typename T>
C10_HOST_DEVICE void sum_over_threads(Context& context, T* rows) {
  for (int32_t half = context.threads / 2; half > 0; half /= 2) {
    context.phase([&](int32_t thread) {
      for (int j = 0; j < kColumns && thread < half; ++j) {
        rows[thread * kColumns + j] += rows[(thread + half) * kColumns + j];
      }
    });
  }
}

// A block has rows of bins of one RoI: it writes their sum by the box, and their gradients by the
// bins' own offsets. A thread has a bin and every so many channels.
template <typename S, typename Taps>
struct BoxGradient {
  using T = Accumulator<S>;
  static constexpr int32_t kChannels = kWidth<S, false>;
  static constexpr int kColumns = Taps::kBoxColumns;

  Taps taps;
  RoiTable<T> rois;
  View<const S> in;
  View<const S> grad;
  Split split;  // groups are not split
  bool bins_fastest;
  T* box;    // [K, row_parts, kColumns], in the caller's order of columns
  T* extra;  // [K, 2, PH, PW], or null

  struct Shared {
    Roi* roi;
    T* box;    // [threads, kColumns]
    T* extra;  // [threads, 2]
    typename Taps::Shared taps;
  };
  C10_HOST_DEVICE Shared share(Arena& arena, int32_t threads) const {
    return {arena.take<Roi>(1), arena.take<T>(threads * kColumns),
        arena.take<T>(threads * Taps::kExtra), taps.share(arena)};
  }

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena& arena) const {
    const Shared s = share(arena, context.threads);
    Piece piece = piece_of(split, context.block, taps.grid.height, /*groups=*/1);
    const int64_t bins = int64_t{piece.rows} * taps.grid.width;
    // In place of groups of channels: how many threads share a bin.
    piece.groups = bins < context.threads ? context.threads / bins : 1;
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        *s.roi = rois.read(piece.roi);
      }
    });
    taps.prepare(context, s.taps, s.roi, {piece.first_row, piece.rows, whole(taps.map[0])});
    context.phase([&](int32_t thread) {
      T sum[kColumns] = {};
      for (int64_t i = thread; i < bins * piece.groups; i += context.threads) {
        const Cell cell = cell_of(piece, i, taps.grid.width, /*width=*/1, bins_fastest);
        T own[2] = {};
        add(s, cell, piece.groups, sum, own);
        for (int j = 0; j < Taps::kExtra; ++j) {
          s.extra[thread * Taps::kExtra + j] = own[j];
          if (piece.groups == 1) {
            store_extra(s, cell, j, own[j]);
          }
        }
      }
      for (int j = 0; j < kColumns; ++j) {
        s.box[thread * kColumns + j] = sum[j];
      }
    });
    sum_extra(context, s, piece);
    sum_over_threads<kColumns>(context, s.box);
    context.phase([&](int32_t thread) {
      if (thread < kColumns) {
        const int64_t part = piece.first_row / split.rows;
        const int32_t column = rois.is_crop() ? thread ^ 1 : thread;
        box[(piece.roi * split.row_parts + part) * kColumns + column] = s.box[thread];
      }
    });
  }

 private:
  // The threads of each bin add up what they have for its offset.
  template <typename Context>
  C10_HOST_DEVICE void sum_extra(Context& context, const Shared& s, const Piece& piece) const {
    if (Taps::kExtra == 0 || piece.groups == 1) {
      return;
    }
    const int64_t bins = int64_t{piece.rows} * taps.grid.width;
    context.phase([&](int32_t thread) {
      for (int j = 0; j < Taps::kExtra && thread < bins; ++j) {
        T sum = T(0);
        for (int64_t slice = 0; slice < piece.groups; ++slice) {
          const int64_t at = bins_fastest ? slice * bins + thread : thread * piece.groups + slice;
          sum += s.extra[at * Taps::kExtra + j];
        }
        const Cell cell{piece.first_row + thread / taps.grid.width, thread % taps.grid.width, 0};
        store_extra(s, cell, j, sum);
      }
    });
  }

  C10_HOST_DEVICE void store_extra(const Shared& s, const Cell& cell, int j, T value) const {
    const int64_t bins = int64_t{taps.grid.height} * taps.grid.width;
    if (extra) {
      extra[(s.roi->number * 2 + j) * bins + int64_t{cell.p} * taps.grid.width + cell.q] = value;
    }
  }

  // cell.channel is the number of the thread among the `step` ones that share the bin.
  C10_HOST_DEVICE void add(const Shared& s, const Cell& cell, int64_t step, T* sum, T* own) const {
    const int32_t width = taps.map[0].width;
    const int64_t bin = int64_t{cell.p} * taps.grid.width + cell.q;
    for (int64_t channel = cell.channel * kChannels; channel < grad.channels;
        channel += step * kChannels) {
      const int64_t left = grad.channels - channel;
      const int32_t lanes = left < kChannels ? static_cast<int32_t>(left) : kChannels;
      const S* const base = in.at(s.roi->image, channel, 0) + bin * in.bin_stride;
      const auto g = Lanes<T, kChannels>::template load<false>(
          grad.at(s.roi->number, channel, bin), grad.channel_stride, lanes);
      taps.visit(
          s.taps, cell.p, cell.q, whole(taps.map[0]), [&](int32_t y, int32_t x, const auto& tap) {
            const auto value = Lanes<T, kChannels>::template load<false>(
                base + (int64_t{y} * width + x) * in.item_stride, in.channel_stride, lanes);
            T product = T(0);
            for (int32_t i = 0; i < kChannels; ++i) {
              product = multiply_add(g.value[i], value.value[i], product);
            }
            tap.add_gradient(product, sum, own);
          });
    }
  }
};

}  // namespace roiops::cuda
