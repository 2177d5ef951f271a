#include "torch/check.h"

#include "core/levels.h"

#include <cmath>
#include <limits>

namespace roiops {
namespace {

// Samples per bin and axis: far beyond any use, and the work stays bounded. Those that are not
// merged by axis are visited one by one.
constexpr int64_t kMaxMergedRatio = 1024;
constexpr int64_t kMaxRatio = 256;

constexpr const char* kRois = "[K, 5] (image, x1, y1, x2, y2)";
constexpr const char* kListHint = " For per-image boxes pass a list of Tensor[L, 4].";

constexpr Rule kRules[] = {
    {"roi_align", "input", 3, 0, 1, 5, kRois, kListHint, false, false, Extra::kNone},
    {"ps_roi_align", "input", 2, 0, 1, 5, kRois, kListHint, true, false, Extra::kNone},
    {"ps_roi_pool", "input", 1, 0, -1, 5, kRois, kListHint, true, false, Extra::kNone},
    {"crop_and_resize", "image", 2, -1, -1, 4, "[K, 4] (y1, x1, y2, x2)",
        " Boxes are normalised by the image's last row and column.", false, false,
        Extra::kBoxIndices},
    {"roi_align_rotated", "input", 4, 0, 1, 6, "[K, 6] (image, cx, cy, w, h, angle)",
        " The angle is in radians.", false, false, Extra::kNone},
    {"prroi_pool", "input", 1, 0, -1, 5, kRois, kListHint, false, false, Extra::kNone},
    {"deform_roi_pool", "input", 3, 0, 1, 5, kRois, kListHint, false, false, Extra::kOffset},
    {"multiscale_roi_align", "features", 6, -1, 0, 5, kRois, kListHint, false, true, Extra::kNone},
    {"roi_pool", "input", 1, 0, -1, 5, kRois, kListHint, false, false, Extra::kNone,
        Reduction::kMax},
    {"roi_align_max", "input", 3, 0, 1, 5, kRois, kListHint, false, false, Extra::kNone,
        Reduction::kMax},
};

bool is_supported(at::ScalarType type) {
  return type == at::kDouble || type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
}

// Inside a plane of pixels indices are 32 bits wide, and float must tell the pixels of a side
// apart; the bins of one RoI are listed in memory.
constexpr int64_t kMaxPixels = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxSide = int64_t{1} << 24;
constexpr int64_t kMaxBins = int64_t{1} << 28;

// Of symbolic sizes the kernel will judge; a guard on their product would only get into the way of
// export.
void check_area(const std::string& op, const char* name, const SymInt& height, const SymInt& width,
    int64_t most) {
  const auto h = height.maybe_as_int(), w = width.maybe_as_int();
  TORCH_CHECK(!h || !w || *h <= 0 || (*h <= most && *w <= most / *h), op, ": the area of `", name,
      "` must be at most ", most, ", but got ", height, " * ", width, ".");
}

// Options travel as doubles; messages show the integer that the caller gave.
int64_t as_integer(double option) {
  return option < 9e18 ? static_cast<int64_t>(option) : std::numeric_limits<int64_t>::max();
}

void check_scale(const std::string& op, const char* name, double scale) {
  // Geometry may be float: a scale beyond its range would turn every box into inf or nothing.
  const auto narrow = static_cast<float>(scale);
  TORCH_CHECK(std::isfinite(narrow) && narrow > 0, op, ": `", name,
      "` must be positive and finite in float32, but got ", scale, ".");
}

}  // namespace

// The private operators take the public operator's name from anywhere.
const Rule& rule_of(const std::string& name, Reduction reduction) {
  for (const Rule& rule : kRules) {
    if (name == rule.op && reduction == rule.reduction) {
      return rule;
    }
  }
  constexpr const char* op = "roiops";
  TORCH_CHECK(false, op, ": `op` must name an operator of roiops that takes a ",
      reduction == Reduction::kMean ? "mean" : "maximum", ", but got \"", name, "\".");
}

const Rule& rule_of(const std::string& op) {
  return rule_of(op, is_max_op(op) ? Reduction::kMax : Reduction::kMean);
}

void check_tensor(const std::string& op, const char* name, const Tensor& tensor) {
  TORCH_CHECK(tensor.defined(), op, ": `", name, "` must be a tensor, but got an undefined one.");
  TORCH_CHECK(is_supported(tensor.scalar_type()), op, ": `", name,
      "` must be float64, float32, float16 or bfloat16, but got ",
      c10::getDtypeNames(tensor.scalar_type()).first, ".");
}

void check_device(const std::string& op, const char* name, const Tensor& tensor,
    const char* other_name, const Tensor& other) {
  TORCH_CHECK(tensor.device() == other.device(), op, ": `", name, "` must be on the device of `",
      other_name, "` (", other.device(), "), but got ", tensor.device(), ".");
}

void check_shape(const std::string& op, const char* name, const char* letters, const Tensor& tensor,
    SymIntArrayRef expected) {
  c10::SymBool same = tensor.dim() == static_cast<int64_t>(expected.size());
  for (int64_t d = 0; d < tensor.dim() && d < static_cast<int64_t>(expected.size()); ++d) {
    same = same.sym_and(tensor.sym_size(d).sym_eq(expected[d]));
  }
  TORCH_SYM_CHECK(same, op, ": `", name, "` must have shape ", letters, expected, ", but got ",
      tensor.sym_sizes(), ".");
}

void check_map_area(
    const std::string& op, const char* name, const SymInt& height, const SymInt& width) {
  check_area(op, name, height, width, kMaxPixels);
  for (const auto side : {height.maybe_as_int(), width.maybe_as_int()}) {
    TORCH_CHECK(!side || *side <= kMaxSide, op, ": `", name, "` must be at most ", kMaxSide,
        " pixels high and wide, but got ", height, " * ", width, ".");
  }
}

void check_levels(const RoiCall& call, size_t maps) {
  const std::vector<double>& options = call.options;
  const double level = options[kLevelOption];
  const size_t levels = options.size() - kLevelOption - 1;
  TORCH_CHECK(levels <= kMaxLevels, call.op, ": `features` must have at most ", kMaxLevels,
      " maps, but got ", levels, ".");
  TORCH_CHECK(level == kAllLevels ? maps == levels
                                  : maps == 1 && level >= 0 && level < levels &&
                                        level == static_cast<double>(static_cast<int64_t>(level)),
      call.op, ": `spatial_scales` must have one element per level (", maps, "), but got ", levels,
      ".");
  for (size_t i = 0; i < levels; ++i) {
    check_scale(call.op, "spatial_scales", options[kLevelOption + 1 + i]);
    // A box's level is counted from the first map's.
    TORCH_CHECK(i == 0 || options[kLevelOption + 1 + i] <= options[kLevelOption + i], call.op,
        ": `spatial_scales` must not increase (the finest map comes first), but got ",
        options[kLevelOption + 1 + i], " after ", options[kLevelOption + i], ".");
  }
  TORCH_CHECK(
      options[2] > 0, call.op, ": `canonical_scale` must be positive, but got ", options[2], ".");
}

namespace {

void check_options(const RoiCall& call, const Rule& rule) {
  TORCH_CHECK(call.options.size() >= rule.options, call.op, ": `options` must have at least ",
      rule.options, " elements, but got ", call.options.size(), ".");
  if (rule.scale >= 0) {
    check_scale(call.op, "spatial_scale", call.options[rule.scale]);
  }
  if (rule.ratio >= 0) {
    const double ratio = call.options[rule.ratio];
    const bool merged = rule.reduction == Reduction::kMean && call.op != "roi_align_rotated";
    const int64_t most = merged ? kMaxMergedRatio : kMaxRatio;
    TORCH_CHECK(ratio <= static_cast<double>(most), call.op, ": `sampling_ratio` must be at most ",
        most, ", but got ", as_integer(ratio), ".");
  }
  if (rule.extra == Extra::kOffset) {
    TORCH_CHECK(std::isfinite(static_cast<float>(call.options[2])), call.op,
        ": `gamma` must be finite in float32, but got ", call.options[2], ".");
  }
  TORCH_CHECK(call.output_size.size() == 2, call.op,
      ": `output_size` must have 2 elements, but got ", call.output_size.size(), ".");
  const char* const size = is_crop(call) ? "crop_size" : "output_size";
  check_area(call.op, size, call.output_size[0], call.output_size[1], kMaxBins);
  TORCH_SYM_CHECK(call.output_size[0].sym_gt(0).sym_and(call.output_size[1].sym_gt(0)), call.op,
      ": `", size, "` must be positive, but got ", SymIntArrayRef(call.output_size), ".");
}

void check_input(const RoiArgs& args, const Rule& rule) {
  const std::string& op = args.call.op;
  TORCH_CHECK(!args.inputs.empty(), op, ": `", rule.input, "` must have a map, but got none.");
  TORCH_CHECK(args.inputs.size() == 1 || rule.levels, op, ": `", rule.input,
      "` must be one map, but got ", args.inputs.size(), ".");
  for (const Tensor& map : args.inputs) {
    check_tensor(op, rule.input, map);
    TORCH_CHECK(map.dim() == 4, op, ": `", rule.input, "` must have shape [N, C, H, W], but got ",
        map.sym_sizes(), ".");
  }
  const Tensor& first = args.inputs[0];
  for (const Tensor& map : args.inputs) {
    check_map_area(op, rule.input, map.sym_size(2), map.sym_size(3));
  }
  for (const Tensor& map : args.inputs) {
    TORCH_CHECK(map.scalar_type() == first.scalar_type() && map.device() == first.device(), op,
        ": `", rule.input, "` must have one dtype and device, but got ",
        c10::getDtypeNames(first.scalar_type()).first, " on ", first.device(), " and ",
        c10::getDtypeNames(map.scalar_type()).first, " on ", map.device(), ".");
    TORCH_SYM_CHECK(map.sym_size(0)
                        .sym_eq(first.sym_size(0))
                        .sym_and(map.sym_size(1).sym_eq(first.sym_size(1))),
        op, ": `", rule.input, "` must have the same images and channels at every level, but got ",
        first.sym_sizes(), " and ", map.sym_sizes(), ".");
  }
}

void check_extra(const RoiArgs& args, const Rule& rule) {
  const std::string& op = args.call.op;
  const Tensor& extra = args.extra;
  if (rule.extra == Extra::kBoxIndices) {
    TORCH_CHECK(
        extra.defined() && (extra.scalar_type() == at::kInt || extra.scalar_type() == at::kLong),
        op, ": `box_indices` must be int32 or int64, but got ",
        extra.defined() ? c10::getDtypeNames(extra.scalar_type()).first : "an undefined tensor",
        ".");
    check_shape(op, "box_indices", "[K] = ", extra, {args.boxes.sym_size(0)});
    check_device(op, "box_indices", extra, "boxes", args.boxes);
  } else if (rule.extra == Extra::kOffset && extra.defined()) {
    check_tensor(op, "offset", extra);
    check_shape(op, "offset", "[K, 2, PH, PW] = ", extra,
        {args.boxes.sym_size(0), 2, args.call.output_size[0], args.call.output_size[1]});
    check_device(op, "offset", extra, "boxes", args.boxes);
  } else {
    TORCH_CHECK(!extra.defined(), op, ": `extra` must be None, but got a tensor.");
  }
}

}  // namespace

// Everything but the features.
const Rule& check_boxes(const RoiArgs& args, Reduction reduction) {
  const Rule& rule = rule_of(args.call.op, reduction);
  const Tensor& boxes = args.boxes;
  check_tensor(args.call.op, rule.boxes_name(), boxes);
  TORCH_SYM_CHECK(boxes.dim() == 2 ? boxes.sym_size(1).sym_eq(rule.columns) : c10::SymBool(false),
      args.call.op, ": `", rule.boxes_name(), "` must have shape ", rule.boxes, ", but got ",
      boxes.sym_sizes(), ".", rule.hint);
  check_options(args.call, rule);
  check_extra(args, rule);
  return rule;
}

const Rule& check_args(const RoiArgs& args, Reduction reduction) {
  const Rule& rule = rule_of(args.call.op, reduction);
  check_input(args, rule);
  check_boxes(args, reduction);
  check_device(args.call.op, rule.boxes_name(), args.boxes, rule.input, args.inputs[0]);
  if (rule.levels) {
    check_levels(args.call, args.inputs.size());
  }
  return rule;
}

}  // namespace roiops
