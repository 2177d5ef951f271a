// scatter_chunk: see apply.h.
#include <algorithm>
#include <vector>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "cpu/clear.h"
#include "cpu/scatter_panels.h"

namespace roiops::cpu {
namespace {

// Runs for all images, so that each of them is written: those that have none get an empty one.
void add_other_images(std::vector<Run>& runs, int64_t images) {
  std::vector<bool> seen(images);
  for (const Run& run : runs) {
    seen[run.image] = true;
  }
  for (int64_t image = 0; image < images; ++image) {
    if (!seen[image]) {
      runs.push_back({0, image, 0, 0, {}});
    }
  }
}

// Backward has one map: RoIs without a level, which come first, are not on it.
template <typename Chunk>
std::vector<Run> runs_on_map(const Chunk& chunk, int64_t images) {
  std::vector<Run> runs = runs_of(chunk);
  if (!runs.empty() && runs.front().level < 0) {
    runs.erase(runs.begin());
  }
  if (chunk.index == 0) {
    add_other_images(runs, images);
  }
  return runs;
}

// Rows of a run's image, in some channels of the output; one bin's channels, or all bins' if bin is
// -1.
struct Band {
  const Run* run;
  int64_t channel, lanes, bin;
  int64_t first_row, end_row;
  bool planes;  // to be summed as such: see NOTE [Engine]
};

// Rows of a TapChunk are not told apart.
template <typename T>
int64_t row_width(const AxisChunk<T>& chunk, int64_t) {
  return chunk.map.width;
}
template <typename T>
int64_t row_width(const TapChunk<T>&, int64_t pixels) {
  return pixels;
}

// A band's pixels are neighbours in memory as far as its channels allow: planes are taken one by
// one or bin by bin, channels_last maps many channels at a time.
template <typename T, typename In>
std::vector<Band> bands_of(
    const std::vector<Run>& runs, const View<In>& in, int64_t bins, int64_t width) {
  constexpr int64_t kWideLanes = 8 * kLanes<T>;
  const bool own = in.bin_stride != 0, by_bin = own && in.item_stride == 1;
  const bool wide = !own && has_channels_last(in);
  const bool planes = !own && in.item_stride == 1 && in.channels < kFewLanes<T>;
  const int64_t lanes = own ? in.channels : wide ? std::min(in.channels, kWideLanes) : 1;
  const int64_t height = in.items / width;
  const int64_t row_bytes = width * lanes * (own && !by_bin ? bins : 1) * int64_t{sizeof(T)};
  // Wide bands are walked down, RoI by RoI: they may leave the cache.
  const int64_t bytes = wide ? 16 * kPieceBytes : kPieceBytes;
  const int64_t rows = std::clamp<int64_t>(bytes / row_bytes, 1, height);
  std::vector<Band> bands;
  for (const Run& run : runs) {
    for (int64_t bin = by_bin ? 0 : -1; bin < (by_bin ? bins : 0); ++bin) {
      for (int64_t channel = 0; channel < in.channels; channel += lanes) {
        for (int64_t row = 0; row < height; row += rows) {
          bands.push_back({&run, channel, std::min(lanes, in.channels - channel), bin, row,
              std::min(row + rows, height), planes});
        }
      }
    }
  }
  return bands;
}

template <typename S, typename T>
void scatter_roi(const TapChunk<T>& chunk, int64_t at, const Band&, Block<const S> bins,
    const Block<T>& sums, int64_t first, int64_t end) {
  engine<S>().taps.scatter(chunk.of(at), bins, sums, first, end);
}

template <typename S, typename T>
void scatter_roi(const AxisChunk<T>& chunk, int64_t at, const Band& band, Block<const S> bins,
    const Block<T>& sums, int64_t first, int64_t end) {
  RoiAxes<T> roi = chunk.of(at);
  if (band.bin >= 0) {
    roi = roi.part(band.bin / roi.x.bins, 1, band.bin % roi.x.bins, 1);
    bins.data += band.bin * bins.item_stride;
  }
  const Slice rows = rows_that_reach(roi, band.first_row, band.end_row);
  roi = roi.part(rows.first, rows.count, 0, roi.x.bins);
  bins.data += rows.first * roi.x.bins * bins.item_stride;
  Block<T> map = sums;
  map.data += rows.first * roi.x.bins * map.bin_stride;
  if (band.planes) {
    const Scratch<T> row(roi.width);
    engine<S>().scatter_planes(roi, bins, map, first, end, row.get());
  } else {
    engine<S>().axes.scatter(roi, bins, map, first, end);
  }
}

bool meets(const PixelSpan& span, const Band& band, int64_t width) {
  return span.first < band.end_row * width && span.end > band.first_row * width;
}

template <typename Chunk>
bool has_taps(const Chunk& chunk, const Band& band, int64_t width) {
  for (int64_t at = band.run->begin; at < band.run->end; ++at) {
    if (meets(chunk.span(at), band, width)) {
      return true;
    }
  }
  return false;
}

// sums += the shares of the band's RoIs, in order.
template <typename S, typename T, typename Chunk>
void scatter_band(const Chunk& chunk, const Band& band, int64_t width, const View<const S>& grad,
    const Block<T>& sums) {
  for (int64_t at = band.run->begin; at < band.run->end; ++at) {
    if (meets(chunk.span(at), band, width)) {
      const Block<const S> bins = grad.block(chunk.roi(at), band.channel, band.lanes);
      scatter_roi<S>(chunk, at, band, bins, sums, band.first_row * width, band.end_row * width);
    }
  }
}

// Sums that are wider than the map, in the order of its memory, pixel by pixel or plane by plane,
// and then rounded. `planes` has as lanes all channels that the band's bins read.
template <typename S, typename In, typename Chunk>
void scatter_rounded(const Chunk& chunk, const Band& band, int64_t width, const View<const S>& grad,
    const Block<In>& map, const Block<In>& planes) {
  using T = Accumulator<S>;
  const int64_t pixels = (band.end_row - band.first_row) * width;
  const Scratch<T> sums(pixels * planes.lanes);
  std::fill_n(sums.get(), pixels * planes.lanes, T(0));
  const bool by_pixel = planes.item_stride != 1, all_bins = map.bin_stride != 0 && band.bin < 0;
  const int64_t count = by_pixel ? pixels : planes.lanes;
  const int64_t length = by_pixel ? planes.lanes : pixels;
  scatter_band<S, T>(chunk, band, width, grad,
      by_pixel ? Block<T>{sums.get(), length, all_bins ? grad.items : 1, band.lanes, all_bins}
               : Block<T>{sums.get(), 1, length, band.lanes, map.bin_stride});
  for (int64_t run = 0; run < count; ++run) {
    engine<In>().narrow(sums.get() + run * length, length,
        planes.data + run * (by_pixel ? planes.item_stride : planes.lane_stride));
  }
}

// A thread owns a band: it clears it, adds to it and, if sums are wider than the map, rounds them.
template <typename S, typename In, typename Chunk>
void scatter_bands(const Chunk& chunk, const std::vector<Run>& runs, const View<const S>& grad,
    const View<In>& in) {
  using T = Accumulator<S>;
  const int64_t width = row_width(chunk, in.items);
  const std::vector<Band> bands = bands_of<T>(runs, in, grad.items, width);
  const auto apply = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Band& band = bands[i];
      Block<In> map = in.block(band.run->image, band.channel, band.lanes);
      map.data += band.first_row * width * map.item_stride;
      map.data += std::max<int64_t>(band.bin, 0) * map.bin_stride;
      Block<In> planes = map;
      if (map.bin_stride != 0 && band.bin < 0) {
        planes.lane_stride = map.bin_stride;
        planes.lanes = band.lanes * grad.items;
      }
      if constexpr (!std::is_same_v<In, T>) {
        if (has_taps(chunk, band, width)) {
          scatter_rounded(chunk, band, width, grad, map, planes);
          continue;
        }
      }
      clear_pixels(
          planes, 0, chunk.index == 0 ? (band.end_row - band.first_row) * width : int64_t{0});
      if constexpr (std::is_same_v<In, T>) {
        scatter_band<S, T>(chunk, band, width, grad, map);
      }
    }
  };
  const auto count = static_cast<int64_t>(bands.size());
  const int64_t taps = chunk.tap_count(chunk.begin, chunk.end);
  const int64_t planes = in.bin_stride != 0 ? grad.items : 1;  // for each of the channels
  const int64_t pixels = static_cast<int64_t>(runs.size()) * in.items * planes;  // to be cleared
  parallel_for(count, apply, grain_for(count, (taps + pixels) * in.channels));
}

template <typename S, typename In, typename Chunk>
void scatter(const Chunk& chunk, const View<const S>& grad, const View<In>& in, int64_t images) {
  const std::vector<Run> runs = runs_on_map(chunk, images);
  if (worth_panels(chunk, runs, in)) {
    scatter_panels(chunk, runs, grad, in);
  } else {
    scatter_bands(chunk, runs, grad, in);
  }
}

}  // namespace

template <typename S, typename In>
void scatter_chunk(const TapChunk<Accumulator<S>>& chunk, const View<const S>& grad,
    const View<In>& in, int64_t images) {
  scatter(chunk, grad, in, images);
}

template <typename S, typename In>
void scatter_chunk(const AxisChunk<Accumulator<S>>& chunk, const View<const S>& grad,
    const View<In>& in, int64_t images) {
  scatter(chunk, grad, in, images);
}

#define ROIOPS_INSTANTIATE(S, In)                                                       \
  template void scatter_chunk(                                                          \
      const TapChunk<Accumulator<S>>&, const View<const S>&, const View<In>&, int64_t); \
  template void scatter_chunk(                                                          \
      const AxisChunk<Accumulator<S>>&, const View<const S>&, const View<In>&, int64_t);

ROIOPS_INSTANTIATE(double, double)
ROIOPS_INSTANTIATE(float, float)
ROIOPS_INSTANTIATE(c10::Half, c10::Half)
ROIOPS_INSTANTIATE(c10::BFloat16, c10::BFloat16)
ROIOPS_INSTANTIATE(c10::Half, float)
ROIOPS_INSTANTIATE(c10::BFloat16, float)

}  // namespace roiops::cpu
