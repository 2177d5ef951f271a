// The kernels on boxes alone by real threads: see phases.cpp.
#pragma once

#include <memory>

#include "cuda/soft_suppress.h"
#include "cuda/suppress.h"
#include "phases.h"

namespace roiops::cuda {

constexpr int64_t kBoxes = 3 * kWordBits + 7;
constexpr int64_t kMost = 40;  // results of an image

template <typename Kind>
void compare_soft(const std::string& name, bool last, const std::vector<float>& fields,
    const std::vector<int64_t>& order, const std::vector<int64_t>& classes) {
  std::vector<float> scores(kImages * kBoxes), lowered(kImages * kMost);
  std::vector<int64_t> count(kImages);
  std::unique_ptr<bool[]> waiting(new bool[kImages * kBoxes]);
  compare<int64_t>(name + " soft", kImages * kMost, kImages, [&](int64_t* numbers) {
    for (size_t i = 0; i < scores.size(); ++i) {
      scores[i] = static_cast<float>(order[i]) / kBoxes;
      waiting[i] = i % 9 != 0;
    }
    return SoftSuppress<float, Kind>{kBoxes, kMost, fields.data(), classes.data(), scores.data(),
        waiting.get(), {last, 0.2F, 0.5F}, 0.01F, numbers, lowered.data(), count.data()};
  });
}

// Boxes of two images, in any order of scores.
template <typename Kind>
void compare_boxes(const std::string& name, bool last) {
  std::vector<float> rows = random_numbers(kImages * kBoxes * Kind::kColumns, 6);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = i % Kind::kColumns < 2 ? rows[i] : rows[i] + 3;
  }
  std::vector<int64_t> order(kImages * kBoxes), classes(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<int64_t>(i * 5) % kBoxes;
    classes[i] = static_cast<int64_t>(i) % 2;
  }
  const BoxRows<float> in{rows.data(), order.data(), kImages, kBoxes, last};
  const int64_t size = kImages * kBoxes * Kind::kFields;
  const auto fields = compare<float>(name + " fields", size, kImages * kBoxes / kThreads + 1,
      [&](float* to) { return PrepareBoxes<float, Kind>{in, to}; });
  const IouMatrix<float, Kind> matrix{
      fields.data(), fields.data(), kImages, kBoxes, kBoxes, nullptr};
  compare<float>(
      name + " ious", kImages * kBoxes * kBoxes, matrix.blocks(kThreads), [&](float* ious) {
        IouMatrix<float, Kind> kernel = matrix;
        kernel.ious = ious;
        return kernel;
      });
  constexpr int64_t kWords = kBoxes / kWordBits + 1, kRows = kWords * kWordBits;
  std::vector<uint64_t> mask(kImages * kRows * kWords), removed(kImages * kWords);
  std::vector<int64_t> count(kImages);
  const Suppression call{
      kImages, kBoxes, kWords, 0, kRows, kMost, mask.data(), removed.data(), count.data()};
  const Overlaps<float, Kind> overlaps{call, fields.data(), classes.data(), 0.2F, doubt_of(0.2F)};
  const auto words = compare<uint64_t>(
      name + " overlaps", kImages * kRows * kWords, overlaps.blocks(), [&](uint64_t* to) {
        Overlaps<float, Kind> kernel = overlaps;
        kernel.call.mask = to;
        return kernel;
      });
  mask = words;
  compare<int64_t>(name + " scan", kImages * kMost, kImages, [&](int64_t* numbers) {
    std::fill(removed.begin(), removed.end(), 0);
    std::fill(count.begin(), count.end(), 0);
    return Scan{call, order.data(), nullptr, numbers};
  });
  compare_soft<Kind>(name, last, fields, order, classes);
}

}  // namespace roiops::cuda
