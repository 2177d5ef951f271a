// Greedy suppression on the GPU.
//
// NOTE [Masks]
// Boxes are in the order of their scores. For a chunk of rows at a time, whose number bounds the
// memory, Overlaps writes a mask: bit j of row i says that box i would suppress the later box j.
// Scan then goes through the chunk's rows, one block per image: it knows which boxes are suppressed
// so far (`removed`), keeps the next one that is not, and adds that one's row. Nothing is copied to
// the host, and a chunk after the last box asked for is not looked at.
#pragma once

#include "cuda/box_pairs.h"

namespace roiops::cuda {

inline constexpr int32_t kWordBits = 64;

// What both kernels know of a call.
struct Suppression {
  int64_t images, boxes;
  int64_t words;            // of a row
  int64_t first_row, rows;  // of the chunk, whole words of them
  int64_t most;             // boxes to keep
  uint64_t* mask;           // [images, rows, words]
  uint64_t* removed;        // [images, words]
  int64_t* count;           // [images], so far

  C10_HOST_DEVICE uint64_t* row_of(int64_t image, int64_t row) const {
    return mask + (image * rows + row - first_row) * words;
  }
  C10_HOST_DEVICE bool is_removed(int64_t image, int64_t row) const {
    return (removed[image * words + row / kWordBits] >> (row % kWordBits) & 1) != 0;
  }
};

// A block has the rows of one word of the chunk and kColumnWords words of columns; a thread
// computes words.
template <typename T, typename Kind>
struct Overlaps {
  static constexpr int64_t kColumnWords = 4;

  Suppression call;
  const T* fields;         // [images, boxes, kFields]
  const int64_t* classes;  // [images, boxes], or null
  T threshold;
  Doubt<T> doubt;

  C10_HOST_DEVICE int64_t column_parts() const {
    return (call.words + kColumnWords - 1) / kColumnWords;
  }
  int64_t blocks() const {
    return call.images * (call.rows / kWordBits) * column_parts();
  }
  struct Shared {
    T* columns;
    int64_t* classes;
  };
  C10_HOST_DEVICE Shared share(Arena& arena, int32_t) const {
    constexpr int64_t kCount = kColumnWords * kWordBits;
    return {arena.take<T>(kCount * Kind::kFields), arena.take<int64_t>(kCount)};
  }

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena& arena) const {
    const Shared s = share(arena, context.threads);
    const int64_t part = context.block / column_parts(), row_words = call.rows / kWordBits;
    const int64_t image = part / row_words;
    const int64_t row = call.first_row + part % row_words * kWordBits;
    const int64_t word = context.block % column_parts() * kColumnWords;
    const int64_t column = word * kWordBits;
    // Earlier boxes are no rivals, nor is anybody when enough are kept.
    if (column + kColumnWords * kWordBits <= row || row >= call.boxes ||
        call.count[image] >= call.most) {
      return;
    }
    const int64_t left = call.boxes - column;
    const int64_t columns = left < kColumnWords * kWordBits ? left : kColumnWords * kWordBits;
    const int64_t base = image * call.boxes;
    context.phase([&](int32_t thread) {
      copy_fields<T, Kind>(
          fields + (base + column) * Kind::kFields, columns, thread, context.threads, s.columns);
      for (int64_t i = thread; classes != nullptr && i < columns; i += context.threads) {
        s.classes[i] = classes[base + column + i];
      }
    });
    context.phase([&](int32_t thread) {
      for (int64_t i = thread; i < kWordBits * kColumnWords; i += context.threads) {
        const int64_t own = row + i % kWordBits, first = i / kWordBits * kWordBits;
        if (own < call.boxes && word + i / kWordBits < call.words) {
          const int64_t end = columns < first + kWordBits ? columns : first + kWordBits;
          call.row_of(image, own)[word + i / kWordBits] =
              call.is_removed(image, own) ? 0 : bits(s, image, own, column, first, end);
        }
      }
    });
  }

 private:
  C10_HOST_DEVICE uint64_t bits(const Shared& s, int64_t image, int64_t own, int64_t column,
      int64_t first, int64_t end) const {
    T box[Kind::kFields];
    copy_fields<T, Kind>(fields + (image * call.boxes + own) * Kind::kFields, 1, 0, 1, box);
    const int64_t of_box = classes != nullptr ? classes[image * call.boxes + own] : 0;
    const int64_t next = own + 1 - column;
    uint64_t result = 0;
    for (int64_t i = next > first ? next : first; i < end; ++i) {
      const T* const other = s.columns + i * Kind::kFields;
      if ((classes == nullptr || s.classes[i] == of_box) && !Kind::is_below(box, other, doubt) &&
          Kind::iou(box, other) > threshold) {
        result |= uint64_t{1} << (i - first);
      }
    }
    return result;
  }
};

// A block has an image. One thread decides on the boxes of a word, then all threads add the rows of
// those that were kept.
struct Scan {
  Suppression call;
  const int64_t* order;  // [images, boxes]
  const bool* eligible;  // [images, boxes] in that order, or null
  int64_t* numbers;      // [images, most]

  struct Shared {
    uint64_t* rows;  // [kWordBits]: of each row the bits in its own word
    int64_t* boxes;  // [kWordBits]: numbers
    bool* eligible;  // [kWordBits]
    uint64_t* kept;  // bits
    int64_t* count;
  };
  C10_HOST_DEVICE Shared share(Arena& arena, int32_t) const {
    return {arena.take<uint64_t>(kWordBits), arena.take<int64_t>(kWordBits),
        arena.take<bool>(kWordBits), arena.take<uint64_t>(1), arena.take<int64_t>(1)};
  }

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena& arena) const {
    const Shared s = share(arena, context.threads);
    const int64_t image = context.block;
    if (call.count[image] >= call.most) {
      return;
    }
    const int64_t end =
        call.first_row + call.rows < call.boxes ? call.first_row + call.rows : call.boxes;
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        *s.count = call.count[image];
      }
    });
    for (int64_t row = call.first_row; row < end && *s.count < call.most; row += kWordBits) {
      const int64_t left = end - row;
      const auto rows = static_cast<int32_t>(left < kWordBits ? left : kWordBits);
      context.phase([&](int32_t thread) {
        for (int32_t i = thread; i < rows; i += context.threads) {
          const int64_t place = image * call.boxes + row + i;
          s.rows[i] = call.row_of(image, row + i)[row / kWordBits];
          s.boxes[i] = order[place];
          s.eligible[i] = eligible == nullptr || eligible[place];
        }
      });
      context.phase([&](int32_t thread) {
        if (thread == 0) {
          decide(s, image, row, rows);
        }
      });
      context.phase(
          [&](int32_t thread) { add_rows(image, row, *s.kept, thread, context.threads); });
    }
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        call.count[image] = *s.count;
      }
    });
  }

 private:
  C10_HOST_DEVICE void decide(const Shared& s, int64_t image, int64_t row, int32_t rows) const {
    uint64_t removed = call.removed[image * call.words + row / kWordBits], kept = 0;
    int64_t count = *s.count;
    for (int32_t i = 0; i < rows && count < call.most; ++i) {
      if ((removed >> i & 1) == 0 && s.eligible[i]) {
        kept |= uint64_t{1} << i;
        removed |= s.rows[i];
        numbers[image * call.most + count++] = s.boxes[i];
      }
    }
    *s.kept = kept;
    *s.count = count;
  }

  C10_HOST_DEVICE void add_rows(
      int64_t image, int64_t row, uint64_t kept, int32_t thread, int32_t threads) const {
    for (int64_t word = row / kWordBits + 1 + thread; word < call.words; word += threads) {
      uint64_t removed = 0;
      for (int32_t i = 0; i < kWordBits; ++i) {
        if ((kept >> i & 1) != 0) {
          removed |= call.row_of(image, row + i)[word];
        }
      }
      call.removed[image * call.words + word] |= removed;
    }
  }
};

}  // namespace roiops::cuda
