#include "torch/cpu_rois.h"

#include <cmath>

#include "torch/check.h"
#include "torch/geometry.h"

namespace roiops {
namespace {

// The columns of crop_and_resize, (y1, x1, y2, x2), in the order of rows.
const int64_t kCropColumns[] = {1, 0, 3, 2};

Tensor crop_columns(const Tensor& boxes) {
  return boxes.index_select(1, at::tensor(at::IntArrayRef(kCropColumns)));
}

std::vector<int64_t> image_numbers(
    const RoiCall& call, const double* rows, int64_t count, int64_t columns, int64_t images) {
  std::vector<int64_t> numbers;
  numbers.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    const double value = rows[i * columns];
    const double image = std::trunc(value);
    // Written as "not inside" because NaN fails every comparison.
    if (!(image >= 0 && image < static_cast<double>(images))) {
      TORCH_CHECK_INDEX(false, call.op, ": `",
          is_crop(call) ? "box_indices" : rule_of(call.op).boxes_name(),
          "` must name images in [0, ", images, "), but got ",
          std::isnan(value) ? std::abs(value) : value, " in row ", i, ".");
    }
    numbers.push_back(static_cast<int64_t>(image));
  }
  return numbers;
}

// A call for one level has that level's boxes alone, on map 0.
template <typename T>
std::vector<int32_t> levels(const RoiCall& call, const cpu::RoiList& rois) {
  const LevelRule<T> rule = level_rule<T>(call);
  const double wanted = call.options[kLevelOption];
  std::vector<int32_t> result;
  for (int64_t i = 0; i < rois.count(); ++i) {
    const double* const row = rois.rows + i * rois.columns;
    const int32_t level = level_of(rule, T(row[1]), T(row[2]), T(row[3]), T(row[4]));
    result.push_back(wanted == kAllLevels ? level : (level == wanted ? 0 : -1));
  }
  return result;
}

}  // namespace

Tensor to_rows(const RoiCall& call, const Tensor& boxes) {
  if (!is_crop(call)) {
    return boxes.to(at::kDouble).contiguous();
  }
  const Tensor columns = crop_columns(boxes.to(at::kDouble));
  return at::cat({at::zeros({boxes.size(0), 1}, columns.options()), columns}, 1);
}

Tensor from_rows(const RoiCall& call, const Tensor& rows) {
  return is_crop(call) ? crop_columns(rows.slice(1, 1)) : rows;
}

Boxes read_boxes(const RoiArgs& args, int64_t images, at::ScalarType features) {
  Boxes boxes{to_rows(args.call, args.boxes), {}, {}};
  if (is_crop(args.call)) {
    boxes.rows.select(1, 0).copy_(args.extra);
  } else if (args.extra.defined()) {
    boxes.offset = args.extra.to(at::kDouble).contiguous();
  }
  const int64_t count = boxes.rows.size(0);
  cpu::RoiList& list = boxes.list;
  list.rows = boxes.rows.const_data_ptr<double>();
  list.columns = boxes.rows.size(1);
  list.image = image_numbers(args.call, list.rows, count, list.columns, images);
  if (args.call.op != "multiscale_roi_align") {
    list.level.assign(count, 0);
  } else if (features == at::kDouble) {
    list.level = levels<double>(args.call, list);
  } else {
    list.level = levels<float>(args.call, list);
  }
  return boxes;
}

}  // namespace roiops
