// When to pack channels into panels, and panels that all threads pack and then share.
#pragma once

#include <algorithm>

#include "cpu/engine.h"
#include "cpu/runtime.h"

namespace roiops::cpu {

// Packing planes costs about one strided load per pixel and channel, reading them unpacked about
// one per tap and channel; a packed tap is nearly free beside them. A panel has all lanes, however
// few are in use.
template <typename S>
bool worth_a_panel(int64_t taps, int64_t pixels, int64_t channels) {
  constexpr int64_t kAll = kLanes<Accumulator<S>>;
  return taps * std::min(channels, kAll) > pixels * kAll;
}

// Packs so many pixels of each of `count` panels, one after the other; block(panel) is where they
// lie.
template <typename S, typename BlockOf>
void pack_together(int64_t count, int64_t pixels, Accumulator<S>* panels, BlockOf&& block) {
  using T = Accumulator<S>;
  constexpr int64_t kPackedPixels = 4096;
  const int64_t pieces = (pixels + kPackedPixels - 1) / kPackedPixels;
  parallel_for(count * pieces, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t panel = i / pieces, first = i % pieces * kPackedPixels;
      Block<const S> map = block(panel);
      map.data += first * map.item_stride;
      engine<S>().pack(map, std::min(kPackedPixels, pixels - first),
          panels + (panel * pixels + first) * kLanes<T>);
    }
  });
}

}  // namespace roiops::cpu
