#include "cpu/order.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "cpu/scratch.h"

namespace roiops::cpu {
namespace {

constexpr uint64_t kTop = uint64_t{1} << 63;
constexpr int32_t kDigitBits = 8, kDigits = 64 / kDigitBits;
constexpr uint64_t kDigitMask = (1 << kDigitBits) - 1;

struct Entry {
  uint64_t key;
  int32_t number;

  uint64_t digit(int32_t d) const {
    return key >> (d * kDigitBits) & kDigitMask;
  }
};

}  // namespace

uint64_t descending_key(double score) {
  if (std::isnan(score)) {
    return 0;
  }
  const double value = score + 0.0;  // -0 becomes 0
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  // Negative numbers are larger the smaller they are.
  return (bits & kTop) != 0 ? bits : ~(bits | kTop);
}

uint64_t ascending_key(int64_t number) {
  return static_cast<uint64_t>(number) ^ kTop;
}

// Radix sort from the last digit on. Digits that all keys share are skipped: scores of float type
// have five, classes mostly one.
void order_by_key(const uint64_t* keys, int64_t count, int32_t* order) {
  const Scratch<Entry> memory(2 * count);
  Entry *from = memory.get(), *to = from + count;
  std::array<std::array<int64_t, kDigitMask + 1>, kDigits> starts{};
  for (int64_t i = 0; i < count; ++i) {
    from[i] = {keys[i], static_cast<int32_t>(i)};
    for (int32_t d = 0; d < kDigits; ++d) {
      ++starts[d][from[i].digit(d)];
    }
  }
  for (int32_t d = 0; d < kDigits && count > 0; ++d) {
    auto& start = starts[d];
    if (start[from[0].digit(d)] == count) {
      continue;
    }
    int64_t sum = 0;
    for (int64_t& s : start) {
      sum += std::exchange(s, sum);
    }
    for (int64_t i = 0; i < count; ++i) {
      to[start[from[i].digit(d)]++] = from[i];
    }
    std::swap(from, to);
  }
  for (int64_t i = 0; i < count; ++i) {
    order[i] = from[i].number;
  }
}

}  // namespace roiops::cpu
