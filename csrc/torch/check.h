// Argument checks, once for every backend and for Meta. Symbolic sizes stay symbolic. Every message
// reads: op: `argument` must ..., but got <value>.
#pragma once

#include "torch/mean_op.h"

namespace roiops {

enum class Reduction { kMean, kMax };

enum class Extra { kNone, kBoxIndices, kOffset };

// What differs between the operators' arguments.
struct Rule {
  const char* op;
  const char* input;  // name of the features
  size_t options;     // how many, at least
  int scale, ratio;   // where among the options, or -1
  int64_t columns;    // of the boxes
  const char* boxes;  // their shape, and a hint
  const char* hint;
  bool position_sensitive;
  bool levels;  // takes a feature pyramid
  Extra extra;
  Reduction reduction = Reduction::kMean;

  // As the Python function calls them.
  const char* boxes_name() const {
    return columns == 6 ? "rois" : "boxes";
  }
};

// The private operators take the public operator's name from anywhere.
const Rule& rule_of(const std::string& op, Reduction reduction);
const Rule& rule_of(const std::string& op);
inline bool is_max_op(std::string_view op) {
  return op == "roi_pool" || op == "roi_align_max";
}

// Everything about a call but, in check_boxes, its features.
const Rule& check_args(const RoiArgs& args, Reduction reduction);
const Rule& check_boxes(const RoiArgs& args, Reduction reduction);

// The options of a feature pyramid for so many maps.
void check_levels(const RoiCall& call, size_t maps);
void check_tensor(const std::string& op, const char* name, const Tensor& tensor);
void check_device(const std::string& op, const char* name, const Tensor& tensor,
    const char* other_name, const Tensor& other);
// letters name the dimensions.
void check_shape(const std::string& op, const char* name, const char* letters, const Tensor& tensor,
    SymIntArrayRef expected);
void check_map_area(
    const std::string& op, const char* name, const SymInt& height, const SymInt& width);

}  // namespace roiops
