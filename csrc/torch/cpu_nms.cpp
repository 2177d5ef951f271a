// CPU kernels of the operators on boxes alone. See NOTE [NMS].
#include "cpu/nms.h"
#include "cpu/runtime.h"
#include "torch/nms_op.h"
#include "torch/views.h"

namespace roiops {
namespace {

cpu::BoxKind kind_of(const NmsArgs& args) {
  return {args.rotated(), args.clockwise};
}

// The images of a call, in the types of the engine.
template <typename T>
struct Images {
  Tensor rows, scores, eligible, classes;
  int64_t count, boxes;

  explicit Images(const NmsArgs& args)
      : rows(args.boxes.to(kType<T>).contiguous()),
        scores(args.scores.to(at::kDouble).contiguous()),
        count(image_count(args.boxes)),
        boxes(args.boxes.size(-2)) {
    if (args.score_threshold) {
      eligible = args.scores.gt(*args.score_threshold).contiguous();
    }
    if (args.idxs.defined()) {
      classes = args.idxs.to(at::kLong).contiguous();
    }
  }

  cpu::BoxList<T> image(int64_t i) const {
    return {boxes, rows.template const_data_ptr<T>() + i * boxes * rows.size(-1),
        scores.const_data_ptr<double>() + i * boxes, part<bool>(eligible, i),
        part<int64_t>(classes, i)};
  }

 private:
  template <typename V>
  const V* part(const Tensor& tensor, int64_t i) const {
    return tensor.defined() ? tensor.const_data_ptr<V>() + i * boxes : nullptr;
  }
};

// Calls body.operator()<T>() with the type in which overlaps are computed.
template <typename Body>
void in_type_of(bool wide, Body&& body) {
  wide ? body.template operator()<double>() : body.template operator()<float>();
}

bool is_double(const Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble;
}

struct CpuNms {
  static std::tuple<Tensor, Tensor> nms(const NmsArgs& args, double iou_threshold) {
    const auto [numbers, count] = prepare_nms(args, iou_threshold);
    numbers.fill_(kNoBox);
    const int64_t most = numbers.size(-1);
    int64_t* const to = numbers.mutable_data_ptr<int64_t>();
    int64_t* const kept = count.mutable_data_ptr<int64_t>();
    in_type_of(is_double(args.boxes), [&]<typename T>() {
      const Images<T> images(args);
      cpu::parallel_for(images.count, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          kept[i] = cpu::nms(images.image(i), kind_of(args), iou_threshold, most, to + i * most);
        }
      });
    });
    return {numbers, count};
  }

  static std::tuple<Tensor, Tensor, Tensor> soft_nms(
      const NmsArgs& args, const SoftNmsOptions& options) {
    const auto [numbers, scores, count] = prepare_soft_nms(args, options);
    numbers.fill_(kNoBox);
    const int64_t most = numbers.size(-1);
    int64_t* const to = numbers.mutable_data_ptr<int64_t>();
    int64_t* const kept = count.mutable_data_ptr<int64_t>();
    const cpu::SoftRule rule{
        options.gaussian, options.iou_threshold, options.sigma, options.min_score};
    in_type_of(any_double(args.boxes, args.scores), [&]<typename T>() {
      const Tensor results = at::zeros(numbers.sizes(), scores.options().dtype(kType<T>));
      T* const to_scores = results.template mutable_data_ptr<T>();
      const Images<T> images(args);
      cpu::parallel_for(images.count, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          kept[i] = cpu::soft_nms(
              images.image(i), kind_of(args), rule, most, to + i * most, to_scores + i * most);
        }
      });
      scores.copy_(results);
    });
    return {numbers, scores, count};
  }

  static Tensor iou(const IouArgs& args) {
    const Tensor result = prepare_iou(args);
    in_type_of(is_double(result), [&]<typename T>() {
      const Tensor rows1 = args.boxes1.to(kType<T>).contiguous(),
                   rows2 = args.boxes2.to(kType<T>).contiguous();
      const int64_t images = image_count(rows1);
      const int64_t count1 = rows1.size(-2), count2 = rows2.size(-2), columns = rows1.size(-1);
      T* const ious = in_huge_pages(result).template mutable_data_ptr<T>();
      for (int64_t i = 0; i < images && result.numel() > 0; ++i) {
        cpu::iou_matrix(rows1.const_data_ptr<T>() + i * count1 * columns, count1,
            rows2.const_data_ptr<T>() + i * count2 * columns, count2,
            {args.rotated, args.clockwise}, ious + i * count1 * count2);
      }
    });
    return result;
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(roiops, CPU, m) {
  register_nms_ops<CpuNms>(m);
}

}  // namespace roiops
