// When to pack channels into panels, and panels that all threads pack and then share.
#pragma once

#include <algorithm>

#include "cpu/engine.h"
#include "cpu/runs.h"
#include "cpu/runtime.h"

namespace roiops::cpu {

// Whether planes are worth packing, so many pixels of which so many taps read. Packing costs about
// one strided load per pixel and channel, reading them unpacked about one per tap and channel; a
// packed tap is nearly free beside them. A panel has all lanes, however few are in use.
template <typename T, typename S>
bool worth_panels(const View<S>& map, int64_t taps, int64_t pixels) {
  return map.bin_stride == 0 && !has_channels_last(map) && map.channels >= kFewLanes<T> &&
         pixels > 0 && taps * std::min<int64_t>(map.channels, kLanes<T>) > pixels * kLanes<T>;
}

template <typename T>
int64_t panels_for(int64_t lanes) {
  return (lanes + kLanes<T> - 1) / kLanes<T>;
}

// The channels of panel `number` of those that hold so many, from this one on.
template <typename T, typename S>
Block<S> panel_block(
    const View<S>& view, int64_t outer, int64_t channel, int64_t lanes, int64_t number) {
  const int64_t lane = number * kLanes<T>;
  return view.block(outer, channel + lane, std::min<int64_t>(kLanes<T>, lanes - lane));
}

// Packs so many pixels of each of `count` panels, one after the other; block(panel) is where they
// lie.
template <typename S, typename BlockOf>
void pack_together(int64_t count, int64_t pixels, Accumulator<S>* panels, BlockOf&& block) {
  using T = Accumulator<S>;
  constexpr int64_t kPackedPixels = 4096;
  const int64_t pieces = (pixels + kPackedPixels - 1) / kPackedPixels;
  const auto pack = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t panel = i / pieces, first = i % pieces * kPackedPixels;
      Block<const S> map = block(panel);
      map.data += first * map.item_stride;
      engine<S>().pack(map, std::min(kPackedPixels, pixels - first),
          panels + (panel * pixels + first) * kLanes<T>);
    }
  };
  parallel_for(count * pieces, pack, grain_for(count * pieces, count * pixels * kLanes<T>));
}

}  // namespace roiops::cpu
