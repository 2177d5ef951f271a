#include "cpu/apply.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "cpu/engine.h"

namespace roiops::cpu {
namespace {

// Consecutive RoIs of a chunk that read one image.
struct Run {
  int64_t image, begin, end;
};

template <typename T>
std::vector<Run> runs_of(const TapChunk<T>& chunk) {
  std::vector<Run> runs;
  for (int64_t at = chunk.begin; at < chunk.end; ++at) {
    if (runs.empty() || runs.back().image != chunk.image[at]) {
      runs.push_back({chunk.image[at], at, at});
    }
    runs.back().end = at + 1;
  }
  return runs;
}

template <typename T>
std::unique_ptr<T[]> new_panel(int64_t pixels) {
  return std::unique_ptr<T[]>(new T[pixels * kLanes<T>]);
}

// Calls body(outer, channel, lanes) for [begin, end) of the pairs (outer, block of `width`
// channels), blocks running fastest so that a RoI's taps stay in the cache.
template <typename Body>
void for_each_block(int64_t begin, int64_t end, int64_t channels, int64_t width, Body&& body) {
  const int64_t blocks = (channels + width - 1) / width;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t channel = i % blocks * width;
    body(i / blocks, channel, std::min(width, channels - channel));
  }
}

template <typename Body>
void parallel_blocks(int64_t outer, int64_t channels, int64_t width, Body&& body) {
  const int64_t blocks = (channels + width - 1) / width;
  parallel_for(outer * blocks,
      [&](int64_t begin, int64_t end) { for_each_block(begin, end, channels, width, body); });
}

// Packing costs about one strided load per pixel and channel, reading unpacked about one per tap
// and channel; a packed tap is nearly free beside them.
template <typename S, typename T>
bool worth_packing(const TapChunk<T>& chunk, const Run& run, const View<const S>& in) {
  return in.channel_stride != 1 && chunk.tap_count(run.begin, run.end) > in.items;
}

}  // namespace

template <typename S>
void gather_chunk(
    const TapChunk<Accumulator<S>>& chunk, const View<const S>& in, const View<S>& out) {
  using T = Accumulator<S>;
  const Engine<S>& apply = engine<S>();
  std::vector<Run> packed;
  std::vector<int64_t> direct;
  for (const Run& run : runs_of(chunk)) {
    if (worth_packing(chunk, run, in)) {
      packed.push_back(run);
    } else {
      for (int64_t at = run.begin; at < run.end; ++at) {
        direct.push_back(at);
      }
    }
  }
  parallel_blocks(static_cast<int64_t>(direct.size()), in.channels, kLanes<T>,
      [&](int64_t i, int64_t channel, int64_t lanes) {
        const int64_t at = direct[i];
        apply.gather(chunk.of(at), in.block(chunk.image[at], channel, lanes),
            out.block(chunk.roi[at], channel, lanes));
      });
  const int64_t blocks = (in.channels + kLanes<T> - 1) / kLanes<T>;
  parallel_for(static_cast<int64_t>(packed.size()) * blocks, [&](int64_t begin, int64_t end) {
    const auto panel = new_panel<T>(in.items);
    for_each_block(
        begin, end, in.channels, kLanes<T>, [&](int64_t i, int64_t channel, int64_t lanes) {
          const Run& run = packed[i];
          apply.pack(in.block(run.image, channel, lanes), in.items, panel.get());
          for (int64_t at = run.begin; at < run.end; ++at) {
            apply.gather_panel(chunk.of(at), panel.get(), out.block(chunk.roi[at], channel, lanes));
          }
        });
  });
}

template <typename S, typename In>
void scatter_chunk(
    const TapChunk<Accumulator<S>>& chunk, const View<const S>& grad, const View<In>& in) {
  using T = Accumulator<S>;
  const std::vector<Run> runs = runs_of(chunk);
  const int64_t blocks = (in.channels + kLanes<T> - 1) / kLanes<T>;
  parallel_for(static_cast<int64_t>(runs.size()) * blocks, [&](int64_t begin, int64_t end) {
    const auto panel = new_panel<T>(in.items);
    for_each_block(
        begin, end, in.channels, kLanes<T>, [&](int64_t i, int64_t channel, int64_t lanes) {
          const Run& run = runs[i];
          const Block<In> pixels = in.block(run.image, channel, lanes);
          if (chunk.index == 0) {
            std::fill_n(panel.get(), in.items * kLanes<T>, T(0));
          } else {
            engine<In>().pack({pixels.data, pixels.item_stride, pixels.lane_stride, lanes},
                in.items, panel.get());
          }
          for (int64_t at = run.begin; at < run.end; ++at) {
            engine<S>().scatter_panel(
                chunk.of(at), grad.block(chunk.roi[at], channel, lanes), panel.get());
          }
          engine<In>().unpack(panel.get(), in.items, pixels);
        });
  });
}

#define ROIOPS_INSTANTIATE(S, In) \
  template void scatter_chunk(    \
      const TapChunk<Accumulator<S>>&, const View<const S>&, const View<In>&);

#define ROIOPS_INSTANTIATE_GATHER(S)                                          \
  template void gather_chunk(                                                 \
      const TapChunk<Accumulator<S>>&, const View<const S>&, const View<S>&); \
  ROIOPS_INSTANTIATE(S, S)

ROIOPS_INSTANTIATE_GATHER(double)
ROIOPS_INSTANTIATE_GATHER(float)
ROIOPS_INSTANTIATE_GATHER(c10::Half)
ROIOPS_INSTANTIATE_GATHER(c10::BFloat16)
ROIOPS_INSTANTIATE(c10::Half, float)
ROIOPS_INSTANTIATE(c10::BFloat16, float)

}  // namespace roiops::cpu
