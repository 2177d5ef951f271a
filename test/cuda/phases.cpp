// The kernels of csrc/cuda by real threads, one for each thread of a block, with a barrier after
// each phase, as on a GPU. Built with ThreadSanitizer, which sees a missing barrier, and threads of
// one phase that touch the same word (NOTE [Phases]). Prints the name of each kernel that gives the
// bits that HostContext gives.
#include "phases.h"
#include "cuda/mean_source.h"
#include "cuda/plan.h"
#include "cuda/select.h"
#include "cuda/winners.h"
#include "phases_boxes.h"

using namespace roiops;
using namespace roiops::cuda;

namespace {

constexpr int64_t kChannels = 8;
constexpr int64_t kRois = kThreads + 4;  // more than a block looks at at a time
constexpr MapSize kMap{11, 13}, kBins{3, 4};
constexpr int64_t kPixels = kMap.height * kMap.width, kBinCount = kBins.height * kBins.width;

// (image, x1, y1, x2, y2, angle) of all sizes, inside and outside.
std::vector<float> random_rois() {
  std::vector<float> rois = random_numbers(kRois * 6, 3);
  for (int64_t k = 0; k < kRois; ++k) {
    float* const roi = rois.data() + 6 * k;
    roi[0] = static_cast<float>(k % kImages);
    for (int i = 1; i < 5; ++i) {
      roi[i] = roi[i] * 6 + (i > 2 ? 9 : 3);
    }
  }
  return rois;
}

const std::vector<float> kFeatures = random_numbers(kImages * kChannels * kPixels, 1);
const std::vector<float> kGrad = random_numbers(kRois * kChannels * kBinCount, 2);
const std::vector<float> kOffset = random_numbers(kRois * 2 * kBinCount, 4);
const std::vector<float> kBoxes = random_rois();

template <typename S>
View<S> view(S* data, int64_t items, bool last) {
  return last ? View<S>{data, kChannels * items, 1, kChannels, kChannels, items}
              : View<S>{data, kChannels * items, items, 1, kChannels, items};
}

RoiTable<float> table(int32_t columns) {
  return {{kBoxes.data(), NumberType::kFloat, 6, 1}, {nullptr, NumberType::kFloat, 0, 0}, columns,
      kRois, kImages, false, -1, {}};
}

template <typename Taps, bool kVector>
void compare_gather(const std::string& name, Taps taps, bool last) {
  const RoiTable<float> rois = table(Taps::kBoxColumns);
  const Split split = split_of(kBins, kRois, kChannels / kWidth<float, kVector>, kThreads);
  limit_lists(taps, split.rows);
  compare<float>(name + " gather", kRois * kChannels * kBinCount,
      kRois * split.row_parts * split.group_parts, [&](float* out) {
        return Gather<float, Taps, PlainWeight, kVector>{taps, rois, {},
            {view(kFeatures.data(), kPixels, last)}, view(out, kBinCount, last), 0, split, !last};
      });
}

template <typename Taps>
void compare_mean(const std::string& name, Taps taps, bool last) {
  compare_gather<Taps, false>(name, taps, last);
  if (last) {
    compare_gather<Taps, true>(name + " vector", taps, last);
  }
  const RoiTable<float> rois = table(Taps::kBoxColumns);
  const auto features = view(kFeatures.data(), kPixels, last);
  const auto grad = view(kGrad.data(), kBinCount, last);
  const Split split = split_of(kBins, kRois, 1, kThreads);
  limit_lists(taps, split.rows);
  compare<float>(name + " box gradient", kRois * split.row_parts * Taps::kBoxColumns,
      kRois * split.row_parts, [&](float* box) {
        return BoxGradient<float, Taps>{taps, rois, features, grad, split, !last, box, nullptr};
      });
  const TileShape shape = tile_shape<float>(kImages, kChannels, kMap, kThreads);
  limit_lists(taps, kBins.height, shape.height);
  for (const int32_t capacity : {512, 8}) {  // entries that fit at once, and that do not
    const auto kernel_for = [&](float* in) {
      using Source = MeanSource<float, Taps>;
      return Scatter<float, Source>{Source{taps, grad, false, capacity}, rois,
          view(in, kPixels, last), kMap, shape.height, shape.width, shape.lanes};
    };
    compare<float>(
        name + " scatter", kImages * kChannels * kPixels, kernel_for(nullptr).blocks(), kernel_for);
  }
}

template <typename Geometry>
void compare_max(const std::string& name, const Geometry& geometry, bool last) {
  const MaxCall<Geometry> call{geometry, kMap, table(4)};
  const auto features = view(kFeatures.data(), kPixels, last);
  const auto grad = view(kGrad.data(), kBinCount, last);
  const Split split = split_of(kBins, kRois, kChannels / kWidth<float, false>, kThreads);
  const int64_t blocks = kRois * split.row_parts * split.group_parts;
  const int64_t size = kRois * kChannels * kBinCount;
  std::vector<float> values(size);
  const auto names = compare<int32_t>(name + " select", size, blocks, [&](int32_t* winners) {
    return Select<float, Geometry>{call, features, view(values.data(), kBinCount, last),
        view(winners, kBinCount, last), split, !last};
  });
  const auto named = view(names.data(), kBinCount, last);
  const Split single = split_of(kBins, kRois, kChannels, kThreads);
  compare<float>(
      name + " gather", size, kRois * single.row_parts * single.group_parts, [&](float* out) {
        return GatherWinners<float, Geometry, PlainWeight>{
            call, {}, features, named, view(out, kBinCount, last), single, !last};
      });
  compare<float>(name + " box gradient", kRois * 4, kRois, [&](float* box) {
    return WinnerBoxGradient<float, Geometry>{call, features, grad, named, !last, box};
  });
  const TileShape shape = tile_shape<float>(kImages, kChannels, kMap, kThreads);
  const auto kernel_for = [&](float* in) {
    using Source = WinnerSource<float, Geometry>;
    return Scatter<float, Source>{Source{call, grad, named}, call.rois, view(in, kPixels, last),
        kMap, shape.height, shape.width, shape.lanes};
  };
  compare<float>(
      name + " scatter", kImages * kChannels * kPixels, kernel_for(nullptr).blocks(), kernel_for);
}

}  // namespace

int main() {
  const SamplingOptions sampling{1.0, 2, false};
  const RoiAlignGeometry<float> align{sampling, kBins};
  const PixelGeometry<float> pool{1.0, 1, kBins};
  for (const bool last : {false, true}) {
    SeparableBlockTaps<RoiAlignGeometry<float>> separable{};
    separable.geometry[0] = align;
    separable.map[0] = kMap;
    separable.grid = kBins;
    compare_mean("roi_align", separable, last);
    compare_mean("rotated", RotatedBlockTaps<float>{{sampling, false, kBins}, {kMap}, kBins}, last);
    compare_mean(
        "deform", DeformBlockTaps<float>{align, {kMap}, kBins, kOffset.data(), 0.3F}, last);
    compare_max("align_max", align, last);
    compare_max("pool", pool, last);
    compare_boxes<CornerBoxes>("corner boxes", last);
    compare_boxes<RotatedBoxes>("rotated boxes", last);
  }
}
