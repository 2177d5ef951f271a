// Checks and results of the operators on boxes alone: see check.h and NOTE [Padded NMS].
#include <cmath>
#include <limits>

#include "torch/check.h"
#include "torch/nms_op.h"

namespace roiops {
namespace {

constexpr int64_t kMaxBoxes = std::numeric_limits<int32_t>::max();

void check_rows(const std::string& op, const char* name, const Tensor& boxes, bool rotated) {
  check_tensor(op, name, boxes);
  const bool has_rows = boxes.dim() == 2 || boxes.dim() == 3;
  TORCH_SYM_CHECK(has_rows ? boxes.sym_size(-1).sym_eq(rotated ? 5 : 4) : c10::SymBool(false), op,
      ": `", name, "` must have shape ",
      rotated ? "[N, 5] (cx, cy, w, h, angle) or [B, N, 5]"
              : "[N, 4] (x1, y1, x2, y2) or [B, N, 4]",
      ", but got ", boxes.sym_sizes(), ".");
}

void check_boxes_and_scores(const NmsArgs& args) {
  const std::string op = args.op;
  const Tensor &boxes = args.boxes, &scores = args.scores;
  check_tensor(op, "boxes", boxes);
  check_tensor(op, "scores", scores);
  const bool has_rows = boxes.dim() == 2 || boxes.dim() == 3;
  TORCH_SYM_CHECK(has_rows ? boxes.sym_size(-1).sym_eq(4).sym_or(boxes.sym_size(-1).sym_eq(5))
                           : c10::SymBool(false),
      op, ": `boxes` must have shape [N, 4] (x1, y1, x2, y2) or [N, 5] (cx, cy, w, h, angle), or ",
      "[B, N, 4] or [B, N, 5], but got ", boxes.sym_sizes(), ".");
  const SymIntArrayRef rows = boxes.sym_sizes().slice(0, boxes.dim() - 1);
  const char* const letters = boxes.dim() == 2 ? "[N] = " : "[B, N] = ";
  check_shape(op, "scores", letters, scores, rows);
  check_device(op, "scores", scores, "boxes", boxes);
  const auto count = boxes.sym_size(-2).maybe_as_int();
  TORCH_CHECK(!count || *count <= kMaxBoxes, op, ": `boxes` must have at most ", kMaxBoxes,
      " rows, but got ", boxes.sym_sizes(), ".");
  if (args.idxs.defined()) {
    TORCH_CHECK(at::isIntegralType(args.idxs.scalar_type(), /*includeBool=*/true), op,
        ": `idxs` must be integers, but got ", c10::getDtypeNames(args.idxs.scalar_type()).first,
        ".");
    check_shape(op, "idxs", letters, args.idxs, rows);
    check_device(op, "idxs", args.idxs, "boxes", boxes);
  }
  TORCH_SYM_CHECK(args.max_output.sym_ge(0), op, ": `max_output` must not be negative, but got ",
      args.max_output, ".");
}

void check_iou_threshold(const std::string& op, double threshold) {
  TORCH_CHECK(threshold >= 0 && threshold <= 1, op,
      ": `iou_threshold` must be between 0 and 1, but got ", threshold, ".");
}

// [(B,) max_output] and [(B,)]
std::tuple<Tensor, Tensor> new_numbers(const NmsArgs& args) {
  std::vector<SymInt> size = args.boxes.sym_sizes().slice(0, args.batch_dims()).vec();
  const auto options = args.boxes.options().dtype(at::kLong);
  Tensor count = at::empty_symint(size, options);
  size.push_back(args.max_output);
  return {at::empty_symint(size, options), count};
}

}  // namespace

bool is_gaussian(std::string_view method) {
  const std::string op = "soft_nms_padded";
  TORCH_CHECK(method == "linear" || method == "gaussian", op,
      ": `method` must be \"linear\" or \"gaussian\", but got \"", method, "\".");
  return method == "gaussian";
}

std::tuple<Tensor, Tensor> prepare_nms(const NmsArgs& args, double iou_threshold) {
  const std::string op = args.op;
  check_boxes_and_scores(args);
  check_iou_threshold(op, iou_threshold);
  TORCH_CHECK(!args.score_threshold || !std::isnan(*args.score_threshold), op,
      ": `score_threshold` must be a number or None, but got nan.");
  return new_numbers(args);
}

std::tuple<Tensor, Tensor, Tensor> prepare_soft_nms(
    const NmsArgs& args, const SoftNmsOptions& options) {
  const std::string op = args.op;
  check_boxes_and_scores(args);
  check_iou_threshold(op, options.iou_threshold);
  const auto sigma = static_cast<float>(options.sigma);
  TORCH_CHECK(sigma > 0 && std::isfinite(sigma), op,
      ": `sigma` must be positive and finite in float32, but got ", options.sigma, ".");
  TORCH_CHECK(!std::isnan(options.min_score), op, ": `min_score` must be a number, but got nan.");
  auto [numbers, count] = new_numbers(args);
  Tensor scores = at::empty_symint(numbers.sym_sizes(), args.scores.options());
  return {numbers, scores, count};
}

void check_iou(const IouArgs& args) {
  const std::string op = args.op;
  check_rows(op, "boxes1", args.boxes1, args.rotated);
  check_rows(op, "boxes2", args.boxes2, args.rotated);
  check_device(op, "boxes2", args.boxes2, "boxes1", args.boxes1);
  TORCH_SYM_CHECK(args.boxes1.dim() != args.boxes2.dim() ? c10::SymBool(false)
                  : args.boxes1.dim() == 3 ? args.boxes1.sym_size(0).sym_eq(args.boxes2.sym_size(0))
                                           : c10::SymBool(true),
      op, ": `boxes2` must have the images of `boxes1`, ", args.boxes1.sym_sizes(), ", but got ",
      args.boxes2.sym_sizes(), ".");
}

Tensor prepare_iou(const IouArgs& args) {
  check_iou(args);
  const bool wide = any_double(args.boxes1, args.boxes2);
  std::vector<SymInt> size = args.boxes1.sym_sizes().slice(0, args.boxes1.dim() - 1).vec();
  size.push_back(args.boxes2.sym_size(-2));
  return at::empty_symint(size, args.boxes1.options().dtype(wide ? at::kDouble : at::kFloat));
}

}  // namespace roiops
