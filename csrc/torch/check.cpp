#include "torch/check.h"

#include <cmath>
#include <limits>

namespace roiops {
namespace {

// 65536 samples per bin and axis are far beyond any use, and keep the work per bin bounded.
constexpr int64_t kMaxSamplingRatio = int64_t{1} << 16;

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
};

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
};

// The private operators take the public operator's name from anywhere.
const Rule& rule_of(const std::string& op) {
  for (const Rule& rule : kRules) {
    if (op == rule.op) {
      return rule;
    }
  }
  TORCH_CHECK(false, op, ": `op` must name an average-type operator of roiops, but got ", op, ".");
}

bool is_supported(at::ScalarType type) {
  return type == at::kDouble || type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
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

// Inside a plane of pixels indices are 32 bits wide; the bins of one RoI are listed in memory.
constexpr int64_t kMaxPixels = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxBins = int64_t{1} << 28;

// Of symbolic sizes the kernel will judge; a guard on their product would only get into the way of
// export.
void check_area(const std::string& op, const char* name, const SymInt& height, const SymInt& width,
    int64_t most) {
  const auto h = height.maybe_as_int(), w = width.maybe_as_int();
  TORCH_CHECK(!h || !w || *h <= 0 || (*h <= most && *w <= most / *h), op, ": the area of `", name,
      "` must be at most ", most, ", but got ", height, " * ", width, ".");
}

// channels_last if the strides say so, with the rule of Tensor::suggest_memory_format except for
// empty tensors; sizes that only the data know do not stand in its way.
at::MemoryFormat format_of(const Tensor& tensor) {
  SymInt least = 0;
  for (const int64_t d : {1, 3, 2, 0}) {
    const SymInt stride = tensor.sym_stride(d), size = tensor.sym_size(d);
    const bool falls = TORCH_GUARD_OR_FALSE(stride.sym_lt(least));
    // A size of one makes both formats fit: contiguous wins.
    const bool ambiguous = d == 0 && TORCH_GUARD_OR_FALSE(least.sym_eq(tensor.sym_stride(1)));
    if (falls || ambiguous || (d == 1 && TORCH_GUARD_OR_FALSE(stride.sym_eq(0)))) {
      return at::MemoryFormat::Contiguous;
    }
    least = stride * size.max(1);
  }
  return at::MemoryFormat::ChannelsLast;
}

// Options travel as doubles; messages show the integer that the caller gave.
int64_t as_integer(double option) {
  return option < 9e18 ? static_cast<int64_t>(option) : std::numeric_limits<int64_t>::max();
}

void check_scale(const std::string& op, const char* name, double scale) {
  // Geometry may be float: a scale beyond its range would turn every box into inf or nothing.
  const auto narrow = static_cast<float>(scale);
  TORCH_CHECK(std::isfinite(narrow) && narrow > 0, op, ": `", name,
      "` must be positive and finite, but got ", scale, ".");
}

void check_options(const MeanCall& call, const Rule& rule) {
  TORCH_CHECK(call.options.size() >= rule.options, call.op, ": `options` must have at least ",
      rule.options, " elements, but got ", call.options.size(), ".");
  if (rule.scale >= 0) {
    check_scale(call.op, "spatial_scale", call.options[rule.scale]);
  }
  if (rule.ratio >= 0) {
    const double ratio = call.options[rule.ratio];
    TORCH_CHECK(ratio <= static_cast<double>(kMaxSamplingRatio), call.op,
        ": `sampling_ratio` must be at most ", kMaxSamplingRatio, ", but got ", as_integer(ratio),
        ".");
  }
  if (rule.extra == Extra::kOffset) {
    TORCH_CHECK(std::isfinite(call.options[2]), call.op, ": `gamma` must be finite, but got ",
        call.options[2], ".");
  }
  TORCH_CHECK(call.output_size.size() == 2, call.op,
      ": `output_size` must have 2 elements, but got ", call.output_size.size(), ".");
  check_area(call.op, "output_size", call.output_size[0], call.output_size[1], kMaxBins);
  TORCH_SYM_CHECK(call.output_size[0].sym_gt(0).sym_and(call.output_size[1].sym_gt(0)), call.op,
      ": `output_size` must be positive, but got ", SymIntArrayRef(call.output_size), ".");
}

void check_levels(const MeanCall& call, size_t maps) {
  const std::vector<double>& options = call.options;
  const double level = options[kLevelOption];
  const size_t levels = options.size() - kLevelOption - 1;
  TORCH_CHECK(level == kAllLevels ? maps == levels : maps == 1 && level >= 0 && level < levels,
      call.op, ": `spatial_scales` must have one element per level (", maps, "), but got ", levels,
      ".");
  for (size_t i = 0; i < levels; ++i) {
    check_scale(call.op, "spatial_scales", options[kLevelOption + 1 + i]);
  }
  TORCH_CHECK(
      options[2] > 0, call.op, ": `canonical_scale` must be positive, but got ", options[2], ".");
}

void check_input(const MeanArgs& args, const Rule& rule) {
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
    check_area(op, rule.input, map.sym_size(2), map.sym_size(3), kMaxPixels);
  }
  for (const Tensor& map : args.inputs) {
    TORCH_CHECK(map.scalar_type() == first.scalar_type() && map.device() == first.device(), op,
        ": `", rule.input, "` must have one dtype and device, but got ", first.dtype(), " on ",
        first.device(), " and ", map.dtype(), " on ", map.device(), ".");
    TORCH_SYM_CHECK(map.sym_size(0)
                        .sym_eq(first.sym_size(0))
                        .sym_and(map.sym_size(1).sym_eq(first.sym_size(1))),
        op, ": `", rule.input, "` must have the same images and channels at every level, but got ",
        first.sym_sizes(), " and ", map.sym_sizes(), ".");
  }
}

void check_extra(const MeanArgs& args, const Rule& rule) {
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

// Everything but the features.
const Rule& check_boxes(const MeanArgs& args) {
  const Rule& rule = rule_of(args.call.op);
  const Tensor& boxes = args.boxes;
  check_tensor(args.call.op, "boxes", boxes);
  TORCH_SYM_CHECK(boxes.dim() == 2 ? boxes.sym_size(1).sym_eq(rule.columns) : c10::SymBool(false),
      args.call.op, ": `boxes` must have shape ", rule.boxes, ", but got ", boxes.sym_sizes(), ".",
      rule.hint);
  check_options(args.call, rule);
  check_extra(args, rule);
  return rule;
}

const Rule& check_args(const MeanArgs& args) {
  const Rule& rule = rule_of(args.call.op);
  check_input(args, rule);
  check_boxes(args);
  check_device(args.call.op, "boxes", args.boxes, rule.input, args.inputs[0]);
  if (rule.levels) {
    check_levels(args.call, args.inputs.size());
  }
  return rule;
}

// Channels of the output for those of the input.
SymInt output_channels(const MeanCall& call, const Rule& rule, const SymInt& channels) {
  if (!rule.position_sensitive) {
    return channels;
  }
  const SymInt &height = call.output_size[0], &width = call.output_size[1];
  const SymInt bins = height * width;
  TORCH_SYM_CHECK((channels % bins).sym_eq(0), call.op, ": the channels of `", rule.input,
      "` must be a multiple of ", height, " * ", width, " = ", bins, ", but got ", channels, ".");
  return channels / bins;
}

Tensor new_output(const MeanArgs& args, const Rule& rule) {
  const Tensor& input = args.inputs[0];
  return at::empty_symint(
      {args.boxes.sym_size(0), output_channels(args.call, rule, input.sym_size(1)),
          args.call.output_size[0], args.call.output_size[1]},
      input.options().memory_format(format_of(input)));
}

void check_grad(
    const Tensor& grad, const MeanArgs& args, const Rule& rule, const SymInt& channels) {
  check_tensor(args.call.op, "grad", grad);
  check_shape(args.call.op, "grad", "[K, C, PH, PW] = ", grad,
      {args.boxes.sym_size(0), output_channels(args.call, rule, channels), args.call.output_size[0],
          args.call.output_size[1]});
}

void check_tangent(
    const MeanCall& call, const char* name, const Tensor& tangent, const Tensor& primal) {
  if (tangent.defined()) {
    TORCH_CHECK(primal.defined() && at::isFloatingType(primal.scalar_type()), call.op, ": `", name,
        "` must be None, but got a tensor.");
    check_tensor(call.op, name, tangent);
    check_device(call.op, name, tangent, "boxes", primal);
    check_shape(call.op, name, "", tangent, primal.sym_sizes());
  }
}

}  // namespace

SamplingOptions sampling_options(const MeanCall& call) {
  const Rule& rule = rule_of(call.op);
  const double ratio = call.options[rule.ratio];
  // The operators that have no such option sample between pixel centres.
  const size_t aligned = rule.ratio + 1;
  const bool has_flag = call.op != "ps_roi_align" && call.op != "deform_roi_pool";
  return {rule.scale >= 0 ? call.options[rule.scale] : 1.0,
      static_cast<int32_t>(std::max(ratio, 0.0)), !has_flag || call.options[aligned] != 0};
}

bool is_position_sensitive(const MeanCall& call) {
  return rule_of(call.op).position_sensitive;
}

Tensor prepare_mean(const MeanArgs& args) {
  return new_output(args, check_args(args));
}

Tensor prepare_mean_backward(const Tensor& grad, const MeanArgs& args, SymIntArrayRef input_size) {
  const Rule& rule = check_boxes(args);
  const std::string& op = args.call.op;
  if (rule.levels) {
    check_levels(args.call, 1);
  }
  TORCH_CHECK(input_size.size() == 4, op, ": `input_size` must have 4 elements, but got ",
      input_size.size(), ".");
  for (const SymInt& size : input_size) {
    TORCH_SYM_CHECK(
        size.sym_ge(0), op, ": `input_size` must not be negative, but got ", input_size, ".");
  }
  check_area(op, rule.input, input_size[2], input_size[3], kMaxPixels);
  check_grad(grad, args, rule, input_size[1]);
  check_device(op, "boxes", args.boxes, "grad", grad);
  return at::empty_symint(input_size, grad.options().memory_format(format_of(grad)));
}

std::tuple<Tensor, Tensor> prepare_mean_backward_boxes(const Tensor& grad, const MeanArgs& args) {
  const Rule& rule = check_args(args);
  const Tensor& input = args.inputs[0];
  check_grad(grad, args, rule, input.sym_size(1));
  check_device(args.call.op, "grad", grad, rule.input, input);
  TORCH_CHECK(grad.scalar_type() == input.scalar_type(), args.call.op, ": `grad` must be ",
      c10::getDtypeNames(input.scalar_type()).first, " as `", rule.input, "`, but got ",
      c10::getDtypeNames(grad.scalar_type()).first, ".");
  const auto new_like = [](const Tensor& t) {
    return at::empty_symint(t.sym_sizes(), t.options());
  };
  return {new_like(args.boxes), rule.extra == Extra::kOffset && args.extra.defined()
                                    ? new_like(args.extra)
                                    : at::empty({0}, args.boxes.options())};
}

Tensor prepare_mean_jvp_boxes(
    const MeanArgs& args, const Tensor& boxes_tangent, const Tensor& extra_tangent) {
  const Rule& rule = check_args(args);
  check_tangent(args.call, "boxes_tangent", boxes_tangent, args.boxes);
  check_tangent(args.call, "extra_tangent", extra_tangent, args.extra);
  return new_output(args, rule);
}

}  // namespace roiops
