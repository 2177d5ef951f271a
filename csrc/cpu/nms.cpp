#include "cpu/nms.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/soft_decay.h"
#include "core/winner.h"
#include "cpu/box_groups.h"
#include "cpu/order.h"
#include "cpu/runtime.h"
#include "cpu/scratch.h"

namespace roiops::cpu {
namespace {

template <typename T>
std::vector<int32_t> candidates(const BoxList<T>& boxes) {
  std::vector<uint64_t> keys(boxes.count);
  std::transform(boxes.scores, boxes.scores + boxes.count, keys.begin(), descending_key);
  std::vector<int32_t> order(boxes.count);
  order_by_key(keys.data(), boxes.count, order.data());
  if (boxes.eligible != nullptr) {
    order.erase(std::remove_if(
                    order.begin(), order.end(), [&](int32_t box) { return !boxes.eligible[box]; }),
        order.end());
  }
  return order;
}

// The boxes kept from one class.
struct KeptList {
  int64_t first_group = 0;
  int64_t count = 0;
  int64_t before = 0;  // the present block of candidates
};

// Which list each box belongs to, and where the lists lie.
template <typename T>
struct KeptLists {
  std::vector<int32_t> list_of;  // empty: there is one list
  std::vector<KeptList> lists;
  int64_t groups = 0;

  KeptLists(const BoxList<T>& boxes, int64_t most) {
    if (boxes.classes == nullptr) {
      add(boxes.count, most);
      return;
    }
    std::vector<uint64_t> keys(boxes.count);
    std::transform(boxes.classes, boxes.classes + boxes.count, keys.begin(), ascending_key);
    std::vector<int32_t> order(boxes.count);
    order_by_key(keys.data(), boxes.count, order.data());
    list_of.resize(boxes.count);
    for (int64_t begin = 0, end = 0; begin < boxes.count; begin = end) {
      while (end < boxes.count && keys[order[end]] == keys[order[begin]]) {
        list_of[order[end++]] = static_cast<int32_t>(lists.size());
      }
      add(end - begin, most);
    }
  }

  KeptList& of(int32_t box) {
    return lists[list_of.empty() ? 0 : list_of[box]];
  }

 private:
  void add(int64_t boxes, int64_t most) {
    lists.push_back({groups});
    groups += groups_of<T>(std::min(boxes, most));
  }
};

// Candidates: so many that threads, which are waited for once per block, have enough to do.
constexpr int64_t kBlock = 1024;
// Boxes of a list that all candidates meet while they are in the nearest cache.
template <typename T>
constexpr int64_t kChunk = 32 * kLanes<T>;

// Candidates that are worth a thread: some 100 microseconds, because a busy machine may let a
// thread wait for long.
int64_t grain_of(BoxKind kind, int64_t groups, int64_t lists) {
  const int64_t worth = kind.rotated ? 4096 : 32768;
  return std::max<int64_t>(worth / std::max<int64_t>(groups / lists, 1), 1);
}

// Greedy suppression in one image. Candidates come by decreasing score, in blocks: threads let
// those of a block meet all boxes kept before it, then each in turn meets those kept from the block
// itself.
template <typename T>
class Suppression {
 public:
  Suppression(const BoxList<T>& boxes, BoxKind kind, double iou_threshold, int64_t most)
      : boxes_(boxes),
        kind_(kind),
        threshold_(threshold_in<T>(iou_threshold)),
        doubt_(doubt_of(threshold_)),
        engine_(engine_of<T>(kind)),
        most_(most),
        lists_(boxes, most),
        memory_(lists_.groups * engine_.fields * kLanes<T>),
        groups_(kind, memory_.get()),
        block_fields_(kBlock * kMaxFields) {}

  int64_t run(int64_t* numbers) {
    const std::vector<int32_t> order = candidates(boxes_);
    const auto count = static_cast<int64_t>(order.size());
    for (int64_t start = 0; start < count && kept_ < most_; start += kBlock) {
      const int32_t* const block = order.data() + start;
      const int64_t size = std::min(count - start, kBlock);
      const auto many = static_cast<int64_t>(lists_.lists.size());
      parallel_for(
          size, [&](int64_t begin, int64_t end) { meet_lists(block, begin, end); },
          grain_of(kind_, groups_of<T>(kept_), many));
      keep(block, size, numbers);
    }
    return kept_;
  }

 private:
  T* fields_of(int64_t i) const {
    return block_fields_.get() + i * kMaxFields;
  }

  bool meets(int64_t i, const KeptList& list, int64_t begin, int64_t end) const {
    return engine_.any_above(fields_of(i), groups_.data, list.first_group + begin / kLanes<T>,
        list.first_group + groups_of<T>(end), threshold_, doubt_);
  }

  void meet_lists(const int32_t* block, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      prepare_box(boxes_.rows + block[i] * kind_.columns(), kind_, fields_of(i));
      suppressed_[i] = false;
    }
    for (int64_t first = 0; first < longest_; first += kChunk<T>) {
      for (int64_t i = begin; i < end; ++i) {
        const KeptList& list = lists_.of(block[i]);
        if (!suppressed_[i] && first < list.count) {
          suppressed_[i] = meets(i, list, first, std::min(first + kChunk<T>, list.count));
        }
      }
    }
  }

  void keep(const int32_t* block, int64_t size, int64_t* numbers) {
    const int64_t kept_before = kept_;
    for (int64_t i = 0; i < size && kept_ < most_; ++i) {
      KeptList& list = lists_.of(block[i]);
      if (!suppressed_[i] &&
          !(list.count > list.before && meets(i, list, list.before, list.count))) {
        groups_.put(fields_of(i), list.first_group * kLanes<T> + list.count++);
        longest_ = std::max(longest_, list.count);
        numbers[kept_++] = block[i];
      }
    }
    for (int64_t i = kept_before; i < kept_; ++i) {
      KeptList& list = lists_.of(static_cast<int32_t>(numbers[i]));
      list.before = list.count;
    }
  }

  const BoxList<T>& boxes_;
  const BoxKind kind_;
  const T threshold_;
  const Doubt<T> doubt_;
  const IouEngine<T>& engine_;
  const int64_t most_;
  KeptLists<T> lists_;
  const Scratch<T> memory_;  // of groups_
  const Groups<T> groups_;
  const Scratch<T> block_fields_;
  bool suppressed_[kBlock];
  int64_t kept_ = 0, longest_ = 0;  // the longest list
};

}  // namespace

template <typename T>
int64_t nms(
    const BoxList<T>& boxes, BoxKind kind, double iou_threshold, int64_t most, int64_t* numbers) {
  return Suppression<T>(boxes, kind, iou_threshold, most).run(numbers);
}

namespace {

// The first of the highest scores of waiting boxes; -1 if none waits.
template <typename T>
int64_t best_of(const std::vector<T>& score, const std::vector<char>& waiting) {
  int64_t best = -1;
  for (int64_t i = 0; i < static_cast<int64_t>(score.size()); ++i) {
    if (waiting[i] != 0 && (best < 0 || beats(score[i], score[best]))) {
      best = i;
    }
  }
  return best;
}

}  // namespace

template <typename T>
int64_t soft_nms(const BoxList<T>& boxes, BoxKind kind, const SoftRule& rule, int64_t most,
    int64_t* numbers, T* scores) {
  const IouEngine<T>& engine = engine_of<T>(kind);
  const int64_t group_count = groups_of<T>(boxes.count);
  const Scratch<T> memory(group_count * kLanes<T> * (engine.fields + 1));
  const Groups<T> groups(kind, memory.get() + group_count * kLanes<T>);
  T* const ious = memory.get();
  std::vector<T> score(boxes.count);
  std::vector<char> waiting(boxes.count);
  T box[kMaxFields];
  for (int64_t i = 0; i < boxes.count; ++i) {
    prepare_box(boxes.rows + i * kind.columns(), kind, box);
    groups.put(box, i);
    score[i] = static_cast<T>(boxes.scores[i]);
    waiting[i] = boxes.eligible == nullptr || boxes.eligible[i];
  }
  const SoftDecay<T> decay{
      rule.gaussian, static_cast<T>(rule.iou_threshold), static_cast<T>(rule.sigma)};
  const T least = static_cast<T>(rule.min_score);
  for (int64_t kept = 0; kept < most; ++kept) {
    const int64_t best = best_of(score, waiting);
    if (best < 0 || score[best] < least) {
      return kept;
    }
    numbers[kept] = best;
    scores[kept] = score[best];
    waiting[best] = 0;
    prepare_box(boxes.rows + best * kind.columns(), kind, box);
    engine.row(box, groups.data, 0, group_count, ious);
    for (int64_t i = 0; i < boxes.count; ++i) {
      if (waiting[i] != 0 &&
          (boxes.classes == nullptr || boxes.classes[i] == boxes.classes[best])) {
        score[i] = decay(score[i], ious[i]);
      }
    }
  }
  return most;
}

template <typename T>
void iou_matrix(
    const T* rows1, int64_t count1, const T* rows2, int64_t count2, BoxKind kind, T* ious) {
  const IouEngine<T>& engine = engine_of<T>(kind);
  const int64_t whole = count2 / kLanes<T>;
  const Scratch<T> memory(groups_of<T>(count2) * engine.fields * kLanes<T>);
  const Groups<T> groups(kind, memory.get());
  T box[kMaxFields];
  for (int64_t i = 0; i < count2; ++i) {
    prepare_box(rows2 + i * kind.columns(), kind, box);
    groups.put(box, i);
  }
  const auto write_rows = [&](int64_t begin, int64_t end) {
    T fields[kMaxFields], rest[kLanes<T>];
    for (int64_t i = begin; i < end; ++i) {
      prepare_box(rows1 + i * kind.columns(), kind, fields);
      T* const row = ious + i * count2;
      engine.row(fields, groups.data, 0, whole, row);
      if (whole * kLanes<T> < count2) {
        engine.row(fields, groups.data, whole, whole + 1, rest);
        std::copy_n(rest, count2 - whole * kLanes<T>, row + whole * kLanes<T>);
      }
    }
  };
  parallel_for(count1, write_rows, grain_of(kind, groups_of<T>(count2), 1));
}

#define ROIOPS_INSTANTIATE(T)                                                                    \
  template int64_t nms(const BoxList<T>&, BoxKind, double, int64_t, int64_t*);                   \
  template int64_t soft_nms(const BoxList<T>&, BoxKind, const SoftRule&, int64_t, int64_t*, T*); \
  template void iou_matrix(const T*, int64_t, const T*, int64_t, BoxKind, T*);

ROIOPS_INSTANTIATE(double)
ROIOPS_INSTANTIATE(float)

}  // namespace roiops::cpu
