// Greedy suppression, soft suppression and matrices of IoU on the CPU.
//
// NOTE [NMS]
// Boxes are taken by decreasing score, equal ones in order. A box is kept unless its IoU with a
// kept one of its class is above the threshold. What is kept lies in groups (cpu/iou_engine.h), one
// list per class, and each candidate is compared with the list: nothing is compared that has been
// suppressed, memory is linear in the boxes, and the search ends with the last box asked for. A
// block of candidates meets the list that was there before, in threads, and then the boxes that
// were kept from the block itself, in order: the result does not depend on the threads.
#pragma once

#include <cstdint>

namespace roiops::cpu {

// The boxes of one image.
template <typename T>
struct BoxList {
  int64_t count;
  const T* rows;           // [count, columns]
  const double* scores;    // [count]
  const bool* eligible;    // [count]: others neither are kept nor suppress; or null
  const int64_t* classes;  // [count]: only boxes of one class suppress each other; or null
};

struct BoxKind {
  bool rotated, clockwise;

  int32_t columns() const {
    return rotated ? 5 : 4;
  }
};

struct SoftRule {
  bool gaussian;         // else linear
  double iou_threshold;  // of linear
  double sigma;          // of gaussian
  double min_score;
};

// Writes the numbers of the kept boxes, `most` at most, and returns how many there are.
template <typename T>
int64_t nms(
    const BoxList<T>& boxes, BoxKind kind, double iou_threshold, int64_t most, int64_t* numbers);

// The same, with their scores.
template <typename T>
int64_t soft_nms(const BoxList<T>& boxes, BoxKind kind, const SoftRule& rule, int64_t most,
    int64_t* numbers, T* scores);

// ious[i, j] of rows1[i] and rows2[j].
template <typename T>
void iou_matrix(
    const T* rows1, int64_t count1, const T* rows2, int64_t count2, BoxKind kind, T* ious);

}  // namespace roiops::cpu
