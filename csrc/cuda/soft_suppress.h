// Soft suppression on the GPU.
#pragma once

#include "core/soft_decay.h"
#include "core/winner.h"
#include "cuda/box_pairs.h"

namespace roiops::cuda {

// A block has an image. Each round all threads lower the scores of their boxes and find the best
// one of them, of which the best of all is kept next.
template <typename T, typename Kind>
struct SoftSuppress {
  int64_t boxes, most;
  const T* fields;         // [images, boxes, kFields]
  const int64_t* classes;  // [images, boxes], or null
  T* scores;               // [images, boxes], lowered here
  bool* waiting;           // [images, boxes]: neither kept nor left out
  SoftDecay<T> decay;
  T min_score;
  int64_t* numbers;  // [images, most]
  T* lowered;        // [images, most]
  int64_t* count;    // [images]

  struct Shared {
    int64_t* box;  // [threads]: each one's best, or -1
    T* score;      // [threads]
    int64_t* best;
    T* best_score;
    T* fields;  // of the best
  };
  C10_HOST_DEVICE Shared share(Arena& arena, int32_t threads) const {
    return {arena.take<int64_t>(threads), arena.take<T>(threads), arena.take<int64_t>(1),
        arena.take<T>(1), arena.take<T>(Kind::kFields)};
  }

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena& arena) const {
    const Shared s = share(arena, context.threads);
    const int64_t image = context.block;
    context.phase([&](int32_t thread) { visit(s, image, -1, thread, context.threads); });
    int64_t kept = 0;
    for (; kept < most; ++kept) {
      for (int32_t half = context.threads / 2; half > 0; half /= 2) {
        context.phase([&](int32_t thread) {
          if (thread < half) {
            take_better(s, thread, s.box[thread + half], s.score[thread + half]);
          }
        });
      }
      context.phase([&](int32_t thread) {
        if (thread == 0) {
          *s.best = s.box[0];
          *s.best_score = s.score[0];
        }
        if (thread < Kind::kFields && s.box[0] >= 0) {
          s.fields[thread] = fields[(image * boxes + s.box[0]) * Kind::kFields + thread];
        }
      });
      const int64_t best = *s.best;
      if (best < 0 || *s.best_score < min_score) {
        break;
      }
      context.phase([&](int32_t thread) {
        if (thread == 0) {
          numbers[image * most + kept] = best;
          lowered[image * most + kept] = *s.best_score;
        }
        visit(s, image, best, thread, context.threads);
      });
    }
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        count[image] = kept;
      }
    });
  }

 private:
  C10_HOST_DEVICE static void take_better(const Shared& s, int32_t thread, int64_t box, T score) {
    const int64_t own = s.box[thread];
    const T own_score = s.score[thread];
    const bool first = !beats(own_score, score) && box < own;  // of equal scores
    if (box >= 0 && (own < 0 || beats(score, own_score) || first)) {
      s.box[thread] = box;
      s.score[thread] = score;
    }
  }

  // A thread's boxes: lowers their scores by what they share with `best`, if there is one.
  C10_HOST_DEVICE void visit(
      const Shared& s, int64_t image, int64_t best, int32_t thread, int32_t threads) const {
    const int64_t base = image * boxes;
    s.box[thread] = -1;
    s.score[thread] = T(0);
    for (int64_t i = thread; i < boxes; i += threads) {
      if (i == best) {
        waiting[base + i] = false;
      }
      if (!waiting[base + i]) {
        continue;
      }
      T score = scores[base + i];
      if (best >= 0 && (classes == nullptr || classes[base + i] == classes[base + best])) {
        T box[Kind::kFields];
        copy_fields<T, Kind>(fields + (base + i) * Kind::kFields, 1, 0, 1, box);
        score = decay(score, Kind::iou(s.fields, box));
        scores[base + i] = score;
      }
      take_better(s, thread, i, score);
    }
  }
};

}  // namespace roiops::cuda
