// in = A^T grad: backward by the features.
//
// NOTE [Tiles]
// A block owns some channels of a tile of one image's pixels. It walks over the image's RoIs that
// reach the tile, in order, adds up what they give to it in shared memory, in the accumulator type,
// and writes the tile once. So there are no atomic additions, results have the same bits in every
// run, a 16-bit gradient is rounded once, and nothing has to be zeroed first. Inside the block a
// thread owns one channel of a part of the tile's pixels.
#pragma once

#include "cuda/gather.h"

namespace roiops::cuda {

struct Tile {
  MapReach pixels;
  int32_t height, width;  // of a whole tile
  int32_t lanes;          // channels per block, a power of two that divides the threads
  int32_t subsets;        // threads per channel
};

// What a thread adds to: one channel of the tile's pixels with number % subsets == subset.
template <typename T>
struct Owned {
  const Tile& tile;
  T* panel;  // [pixels, lanes]
  int32_t lane, subset;

  C10_HOST_DEVICE void add(int32_t y, int32_t x, T value) const {
    if (!tile.pixels.contains(y, x)) {
      return;
    }
    add((y - tile.pixels.y.first) * tile.width + x - tile.pixels.x.first, value);
  }
  C10_HOST_DEVICE bool owns(int32_t pixel) const {
    return (pixel & (tile.subsets - 1)) == subset;
  }
  C10_HOST_DEVICE void add(int32_t pixel, T value) const {
    if (owns(pixel)) {
      panel[int64_t{pixel} * tile.lanes + lane] += value;
    }
  }
};

// Source lists what one RoI gives: Shared, share(arena, threads), reach(roi), and
// add(context, shared, roi, tile, for_each_owner), which runs its phases and calls
// for_each_owner(thread, body) for body(channel, owned) where the thread owns a channel.
template <typename S, typename Source>
struct Scatter {
  using T = Accumulator<S>;

  Source source;
  RoiTable<T> rois;
  View<S> in;
  MapSize map;
  int32_t tile_height, tile_width, lanes;

  struct Shared {
    T* panel;
    uint32_t* mask;  // a bit per thread
    Roi* roi;
    typename Source::Shared source;
  };
  C10_HOST_DEVICE Shared share(Arena& arena, int32_t threads) const {
    return {arena.take<T>(int64_t{tile_height} * tile_width * lanes),
        arena.take<uint32_t>((threads + 31) / 32), arena.take<Roi>(1),
        source.share(arena, threads)};
  }

  C10_HOST_DEVICE int64_t blocks() const {
    return rois.images * row_tiles() * column_tiles() * channel_parts();
  }

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena& arena) const {
    const Shared s = share(arena, context.threads);
    int64_t rest = context.block;
    const int64_t first_channel = rest % channel_parts() * lanes;
    rest /= channel_parts();
    const auto x0 = static_cast<int32_t>(rest % column_tiles() * tile_width);
    rest /= column_tiles();
    const auto y0 = static_cast<int32_t>(rest % row_tiles() * tile_height);
    const int64_t image = rest / row_tiles();
    const Tile tile{
        {{y0, smaller(y0 + tile_height, map.height)}, {x0, smaller(x0 + tile_width, map.width)}},
        tile_height, tile_width, lanes, context.threads / lanes};
    const int64_t size = int64_t{tile_height} * tile_width * lanes;
    const auto for_each_owner = [&](int32_t thread, auto&& body) {
      const int64_t channel = first_channel + thread % lanes;
      if (thread < lanes * tile.subsets && channel < in.channels) {
        body(channel, Owned<T>{tile, s.panel, thread % lanes, thread / lanes});
      }
    };

    context.phase([&](int32_t thread) {
      for (int64_t i = thread; i < size; i += context.threads) {
        s.panel[i] = T(0);
      }
    });
    for (int64_t first = 0; first < rois.count; first += context.threads) {
      context.phase([&](int32_t thread) {
        if (thread < (context.threads + 31) / 32) {
          s.mask[thread] = 0;
        }
      });
      context.phase([&](int32_t thread) {
        if (first + thread < rois.count) {
          const Roi roi = rois.read(first + thread);
          if (roi.image == image && roi.level >= 0 && source.reach(roi).meets(tile.pixels)) {
            context.set_bit(s.mask, thread);
          }
        }
      });
      for (int32_t i = 0; i < context.threads; ++i) {
        if ((s.mask[i / 32] >> (i % 32) & 1) == 0) {
          continue;
        }
        context.phase([&](int32_t thread) {
          if (thread == 0) {
            *s.roi = rois.read(first + i);
          }
        });
        source.add(context, s.source, s.roi, tile, for_each_owner);
      }
      context.phase([](int32_t) {});  // the mask has been read by all
    }
    context.phase([&](int32_t thread) {
      for (int64_t i = thread; i < size; i += context.threads) {
        store(s, tile, image, first_channel, i);
      }
    });
  }

 private:
  C10_HOST_DEVICE static int32_t smaller(int32_t a, int32_t b) {
    return a < b ? a : b;
  }
  C10_HOST_DEVICE int64_t row_tiles() const {
    return (map.height + tile_height - 1) / tile_height;
  }
  C10_HOST_DEVICE int64_t column_tiles() const {
    return (map.width + tile_width - 1) / tile_width;
  }
  C10_HOST_DEVICE int64_t channel_parts() const {
    return (in.channels + lanes - 1) / lanes;
  }

  // Element i of the panel in the order of the map's memory.
  C10_HOST_DEVICE void store(
      const Shared& s, const Tile& tile, int64_t image, int64_t first_channel, int64_t i) const {
    const int32_t pixels = tile_height * tile_width;
    const bool planes = in.channel_stride != 1;
    const auto lane = static_cast<int32_t>(planes ? i / pixels : i % lanes);
    const auto pixel = static_cast<int32_t>(planes ? i % pixels : i / lanes);
    const int32_t y = tile.pixels.y.first + pixel / tile_width;
    const int32_t x = tile.pixels.x.first + pixel % tile_width;
    if (first_channel + lane < in.channels && tile.pixels.contains(y, x)) {
      in.data[image * in.outer_stride + (first_channel + lane) * in.channel_stride +
              (int64_t{y} * map.width + x) * in.item_stride] =
          static_cast<S>(s.panel[int64_t{pixel} * lanes + lane]);
    }
  }
};

// The taps of an average-type operator. They are the same for all channels, so that the block lists
// those in the tile once: a bounded number at a time, in the order of the bins.
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
    taps.visit(s.taps, p, q, [&](int32_t y, int32_t x, const auto& t) {
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
    return static_cast<T>(grad.data[roi.number * grad.outer_stride + channel * grad.channel_stride +
                                    bin * grad.item_stride]);
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
