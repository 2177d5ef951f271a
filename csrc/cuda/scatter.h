// in = A^T grad: backward by the features.
//
// NOTE [Tiles]
// A block owns some channels of a tile of one image's pixels. It walks over the image's RoIs that
// reach the tile, in order, adds up what they give to it in shared memory, in the accumulator type,
// and writes the tile once. So there are no atomic additions, results have the same bits in every
// run, a 16-bit gradient is rounded once, and nothing has to be zeroed first. Inside the block a
// thread owns one channel of a part of the tile's pixels.
#pragma once

#include "core/reach.h"
#include "core/view.h"
#include "cuda/context.h"
#include "cuda/roi_table.h"

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
    const int64_t first_channel = context.block % channel_parts() * lanes;
    const int64_t place = context.block / channel_parts();
    const int64_t image = place / (column_tiles() * row_tiles());
    const Tile tile = tile_of(place % (column_tiles() * row_tiles()), context.threads);
    const int64_t size = int64_t{tile_height} * tile_width * lanes;
    context.phase([&](int32_t thread) {
      for (int64_t i = thread; i < size; i += context.threads) {
        s.panel[i] = T(0);
      }
    });
    for (int64_t first = 0; first < rois.count; first += context.threads) {
      mark(context, s, first, image, tile);
      for (int32_t i = 0; i < context.threads; ++i) {
        if ((s.mask[i / 32] >> (i % 32) & 1) != 0) {
          add(context, s, first + i, tile, first_channel);
        }
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
  C10_HOST_DEVICE Tile tile_of(int64_t number, int32_t threads) const {
    const auto y = static_cast<int32_t>(number / column_tiles()) * tile_height;
    const auto x = static_cast<int32_t>(number % column_tiles()) * tile_width;
    const int32_t rows = map.height - y < tile_height ? map.height - y : tile_height;
    const int32_t columns = map.width - x < tile_width ? map.width - x : tile_width;
    return {{{y, y + rows}, {x, x + columns}}, tile_height, tile_width, lanes, threads / lanes};
  }

  // Which of the next RoIs reach the tile.
  template <typename Context>
  C10_HOST_DEVICE void mark(
      Context& context, const Shared& s, int64_t first, int64_t image, const Tile& tile) const {
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
  }

  template <typename Context>
  C10_HOST_DEVICE void add(Context& context, const Shared& s, int64_t number, const Tile& tile,
      int64_t first_channel) const {
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        *s.roi = rois.read(number);
      }
    });
    const auto for_each_owner = [&](int32_t thread, auto&& body) {
      const int64_t channel = first_channel + thread % lanes;
      if (channel < in.channels) {
        body(channel, Owned<T>{tile, s.panel, thread % lanes, thread / lanes});
      }
    };
    source.add(context, s.source, s.roi, tile, for_each_owner);
  }

  C10_HOST_DEVICE int64_t row_tiles() const {
    return (int64_t{map.height} + tile_height - 1) / tile_height;
  }
  C10_HOST_DEVICE int64_t column_tiles() const {
    return (int64_t{map.width} + tile_width - 1) / tile_width;
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
      *in.at(image, first_channel + lane, int64_t{y} * map.width + x) =
          static_cast<S>(s.panel[int64_t{pixel} * lanes + lane]);
    }
  }
};

}  // namespace roiops::cuda
