// What the taps of an average-type operator give to a tile: see NOTE [Tiles].
#pragma once

#include "cuda/block_taps.h"
#include "cuda/scatter.h"

namespace roiops::cuda {

// They are the same for all channels, so that the block lists those in the tile once: a bounded
// number at a time, in the order of the bins.
template <typename S, typename Taps>
struct MeanSource {
  using T = Accumulator<S>;

  Taps taps;
  View<const S> grad;
  bool position_sensitive;  // channel c of the map belongs to bin c % bins, see NOTE [Channel map]
  int32_t capacity;         // entries listed at a time

  struct Entry {
    int32_t pixel;  // in the tile
    int32_t bin;
    T weight;
  };
  struct Listed {
    int32_t bins, entries;
  };
  struct Shared {
    typename Taps::Shared taps;
    int32_t* count;  // [threads]
    Entry* entries;  // [capacity]
    Listed* listed;
  };
  C10_HOST_DEVICE Shared share(Arena& arena, int32_t threads) const {
    return {taps.share(arena), arena.take<int32_t>(threads), arena.take<Entry>(capacity),
        arena.take<Listed>(1)};
  }

  C10_HOST_DEVICE MapReach reach(const Roi& roi) const {
    return taps.reach(roi);
  }

  template <typename Context, typename ForEachOwner>
  C10_HOST_DEVICE void add(Context& context, const Shared& s, const Roi* roi, const Tile& tile,
      ForEachOwner&& for_each_owner) const {
    taps.prepare(context, s.taps, roi, {0, taps.grid.height, tile.pixels});
    const int64_t bins = int64_t{taps.grid.height} * taps.grid.width;
    for (int64_t first = 0; first < bins;) {
      const int64_t left = bins - first;
      const int32_t count = left < context.threads ? static_cast<int32_t>(left) : context.threads;
      list(context, s, first, count, tile);
      const Listed listed = *s.listed;
      context.phase([&](int32_t thread) {
        for_each_owner(thread, [&](int64_t channel, const Owned<T>& owned) {
          if (listed.bins > 0) {
            add_entries(s, *roi, channel, listed.entries, owned);
          } else {  // one bin has more entries than fit
            add_bin(s, *roi, channel, first, owned);
          }
        });
      });
      first += listed.bins > 0 ? listed.bins : 1;
    }
  }

 private:
  template <typename TapFn>
  C10_HOST_DEVICE void visit(const Shared& s, int64_t bin, const Tile& tile, TapFn&& tap) const {
    const auto p = static_cast<int32_t>(bin / taps.grid.width);
    const auto q = static_cast<int32_t>(bin % taps.grid.width);
    taps.visit(s.taps, p, q, tile.pixels, [&](int32_t y, int32_t x, const auto& t) {
      if (tile.pixels.contains(y, x)) {
        tap((y - tile.pixels.y.first) * tile.width + x - tile.pixels.x.first, t.weight());
      }
    });
  }

  // Lists the entries of as many of the bins as fit.
  template <typename Context>
  C10_HOST_DEVICE void list(
      Context& context, const Shared& s, int64_t first, int32_t count, const Tile& tile) const {
    context.phase([&](int32_t thread) {
      int64_t entries = 0;
      if (thread < count) {
        visit(s, first + thread, tile, [&](int32_t, T) { ++entries; });
        s.count[thread] = static_cast<int32_t>(entries <= capacity ? entries : capacity + 1);
      }
    });
    context.phase([&](int32_t thread) {
      if (thread >= count) {
        return;
      }
      int64_t at = 0;
      for (int32_t i = 0; i < thread; ++i) {
        at += s.count[i];
      }
      const int64_t end = at + s.count[thread];
      if (end > capacity) {
        if (thread == 0) {
          *s.listed = {0, 0};
        }
        return;
      }
      if (thread + 1 == count || end + s.count[thread + 1] > capacity) {
        *s.listed = {thread + 1, static_cast<int32_t>(end)};
      }
      visit(s, first + thread, tile, [&](int32_t pixel, T weight) {
        s.entries[at++] = {pixel, static_cast<int32_t>(first + thread), weight};
      });
    });
  }

  C10_HOST_DEVICE T grad_at(const Roi& roi, int64_t channel, int64_t bin) const {
    return static_cast<T>(*grad.at(roi.number, channel, bin));
  }

  C10_HOST_DEVICE void add_entries(const Shared& s, const Roi& roi, int64_t channel,
      int32_t entries, const Owned<T>& owned) const {
    const int64_t bins = int64_t{taps.grid.height} * taps.grid.width;
    const int64_t own_bin = position_sensitive ? channel % bins : -1;
    const int64_t grad_channel = position_sensitive ? channel / bins : channel;
    int32_t bin = -1;
    T value = T(0);
    for (int32_t i = 0; i < entries; ++i) {
      const Entry entry = s.entries[i];
      if (!owned.owns(entry.pixel) || (position_sensitive && entry.bin != own_bin)) {
        continue;
      }
      if (entry.bin != bin) {
        bin = entry.bin;
        value = grad_at(roi, grad_channel, bin);
      }
      owned.add(entry.pixel, entry.weight * value);
    }
  }

  C10_HOST_DEVICE void add_bin(
      const Shared& s, const Roi& roi, int64_t channel, int64_t bin, const Owned<T>& owned) const {
    const int64_t bins = int64_t{taps.grid.height} * taps.grid.width;
    if (position_sensitive && channel % bins != bin) {
      return;
    }
    const T value = grad_at(roi, position_sensitive ? channel / bins : channel, bin);
    visit(s, bin, owned.tile, [&](int32_t pixel, T weight) { owned.add(pixel, weight * value); });
  }
};

}  // namespace roiops::cuda
