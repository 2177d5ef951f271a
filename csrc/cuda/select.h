// The winners: the largest sample of every bin.
#pragma once

#include "cuda/max_call.h"

namespace roiops::cuda {

// The first of the largest samples; NaN counts as largest. Without samples: value 0, name -1.
template <typename S, typename Geometry>
struct Select {
  using T = Accumulator<S>;
  static constexpr int32_t kChannels = kWidth<S, false>;

  MaxCall<Geometry> call;
  View<const S> in;
  View<S> out;
  View<int32_t> name;
  Split split;
  bool bins_fastest;

  C10_HOST_DEVICE MaxRoi<Geometry>* share(Arena& arena, int32_t) const {
    return arena.take<MaxRoi<Geometry>>(1);
  }

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena& arena) const {
    for_each_cell(context, share(arena, context.threads), call, split, kChannels, out.channels,
        bins_fastest, [&](const Cell& cell, const MaxRoi<Geometry>& roi) { select(cell, roi); });
  }

 private:
  C10_HOST_DEVICE void select(const Cell& cell, const MaxRoi<Geometry>& roi) const {
    const int64_t left = out.channels - cell.channel;
    const int32_t lanes = left < kChannels ? static_cast<int32_t>(left) : kChannels;
    const S* const base = in.at(roi.roi.image, cell.channel, 0);
    SampleRange<T> rows{}, columns{};
    if (roi.roi.level >= 0) {
      rows = samples_of(roi.axes.y, cell.p, call.map.height);
      columns = samples_of(roi.axes.x, cell.q, call.map.width);
    }
    Lanes<T, kChannels> best{};
    int32_t winner[kChannels];
    for (int32_t lane = 0; lane < kChannels; ++lane) {
      winner[lane] = -1;
    }
    for (int64_t i = 0; i < rows.count; ++i) {
      Winner<T> sample{true, {}, {}};
      sample.y = axis_sample(roi.axes.y, cell.p, call.map.height, rows.first + T(i));
      for (int64_t j = 0; j < columns.count; ++j) {
        sample.x = axis_sample(roi.axes.x, cell.q, call.map.width, columns.first + T(j));
        const auto value = value_of(sample, base, lanes);
        const auto number = static_cast<int32_t>(i * columns.count + j);
        for (int32_t lane = 0; lane < kChannels; ++lane) {
          if (winner[lane] < 0 || beats(value.value[lane], best.value[lane])) {
            best.value[lane] = value.value[lane];
            winner[lane] = kNamesPixels<Geometry>
                               ? sample.y.tap[0].pixel * call.map.width + sample.x.tap[0].pixel
                               : number;
          }
        }
      }
    }
    const int64_t bin = call.bin(cell);
    best.template store<false>(
        out.at(roi.roi.number, cell.channel, bin), out.channel_stride, lanes);
    int32_t* const names = name.at(roi.roi.number, cell.channel, bin);
    for (int32_t lane = 0; lane < lanes; ++lane) {
      names[lane * name.channel_stride] = winner[lane];
    }
  }

  // A sum of one term keeps the sign of a zero.
  C10_HOST_DEVICE Lanes<T, kChannels> value_of(
      const Winner<T>& sample, const S* base, int32_t lanes) const {
    Lanes<T, kChannels> sum{};
    bool first = true;
    sample.for_each_tap([&](int32_t y, int32_t x, const SeparableTap<T>& tap) {
      const auto value = Lanes<T, kChannels>::template load<false>(
          base + (int64_t{y} * call.map.width + x) * in.item_stride, in.channel_stride, lanes);
      for (int32_t i = 0; i < kChannels; ++i) {
        const T term = tap.weight() * value.value[i];
        sum.value[i] = first ? term : sum.value[i] + term;
      }
      first = false;
    });
    return sum;
  }
};

}  // namespace roiops::cuda
