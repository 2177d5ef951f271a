// The kernels on boxes alone as a backend, on any launcher of blocks: see block_backend.h.
#pragma once

#include "cuda/soft_suppress.h"
#include "cuda/suppress.h"
#include "torch/nms_op.h"
#include "torch/views.h"

namespace roiops {

template <typename Launcher>
struct BlockNms {
  static std::tuple<Tensor, Tensor> nms(const NmsArgs& args, double iou_threshold) {
    const auto [numbers, count] = prepare_nms(args, iou_threshold);
    const c10::OptionalDeviceGuard guard(at::device_of(numbers));
    numbers.fill_(kNoBox);
    count.zero_();
    if (numbers.numel() == 0 || args.boxes.numel() == 0) {
      return {numbers, count};
    }
    const Tensor order =
        std::get<1>(args.scores.sort(/*stable=*/true, /*dim=*/-1, /*descending=*/true))
            .contiguous();
    Tensor eligible;
    if (args.score_threshold) {
      eligible = args.scores.gt(*args.score_threshold).gather(-1, order).contiguous();
    }
    const Tensor classes = classes_of(args, order);
    with_kind(args.boxes, args.rotated(), [&]<typename T, typename Kind>() {
      const Tensor fields = prepare<T, Kind>(args.boxes, args.clockwise, order);
      const T threshold = threshold_in<T>(iou_threshold);
      suppress(
          args, order,
          [&](const cuda::Suppression& call) {
            const cuda::Overlaps<T, Kind> overlaps{call, pointer<T>(fields),
                pointer<int64_t>(classes), threshold, doubt_of(threshold)};
            Launcher::launch(overlaps, overlaps.blocks());
            const cuda::Scan scan{call, pointer<int64_t>(order), pointer<bool>(eligible),
                numbers.template mutable_data_ptr<int64_t>()};
            Launcher::launch(scan, call.images);
          },
          numbers, count);
    });
    return {numbers, count};
  }

  static std::tuple<Tensor, Tensor, Tensor> soft_nms(
      const NmsArgs& args, const SoftNmsOptions& options) {
    const auto [numbers, scores, count] = prepare_soft_nms(args, options);
    const c10::OptionalDeviceGuard guard(at::device_of(numbers));
    numbers.fill_(kNoBox);
    count.zero_();
    scores.zero_();
    if (numbers.numel() == 0 || args.boxes.numel() == 0) {
      return {numbers, scores, count};
    }
    const Tensor classes = classes_of(args, {});
    const Tensor waiting = at::ones(args.scores.sizes(), args.scores.options().dtype(at::kBool));
    const Tensor boxes =
        any_double(args.boxes, args.scores) ? args.boxes.to(at::kDouble) : args.boxes;
    with_kind(boxes, args.rotated(), [&]<typename T, typename Kind>() {
      const Tensor fields = prepare<T, Kind>(boxes, args.clockwise, {});
      const Tensor current = args.scores.to(
          kType<T>, /*non_blocking=*/false, /*copy=*/true, at::MemoryFormat::Contiguous);
      const Tensor lowered = at::zeros(numbers.sizes(), current.options());
      const cuda::SoftSuppress<T, Kind> kernel{boxes.size(-2), numbers.size(-1), pointer<T>(fields),
          pointer<int64_t>(classes), current.template mutable_data_ptr<T>(),
          waiting.template mutable_data_ptr<bool>(),
          {options.gaussian, static_cast<T>(options.iou_threshold), static_cast<T>(options.sigma)},
          static_cast<T>(options.min_score), numbers.template mutable_data_ptr<int64_t>(),
          lowered.template mutable_data_ptr<T>(), count.template mutable_data_ptr<int64_t>()};
      Launcher::launch(kernel, count.numel());
      scores.copy_(lowered);
    });
    return {numbers, scores, count};
  }

  static Tensor iou(const IouArgs& args) {
    const Tensor result = prepare_iou(args);
    const c10::OptionalDeviceGuard guard(at::device_of(result));
    if (result.numel() == 0) {
      return result;
    }
    with_kind(result, args.rotated, [&]<typename T, typename Kind>() {
      const Tensor first = prepare<T, Kind>(args.boxes1, args.clockwise, {}),
                   second = prepare<T, Kind>(args.boxes2, args.clockwise, {});
      const cuda::IouMatrix<T, Kind> kernel{pointer<T>(first), pointer<T>(second),
          image_count(args.boxes1), args.boxes1.size(-2), args.boxes2.size(-2),
          result.template mutable_data_ptr<T>()};
      Launcher::launch(kernel, kernel.blocks(Launcher::threads()));
    });
    return result;
  }

 private:
  template <typename T>
  static const T* pointer(const Tensor& tensor) {
    return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
  }

  // Calls body.operator()<T, Kind>() with the type in which overlaps are computed.
  template <typename Body>
  static void with_kind(const Tensor& boxes, bool rotated, Body&& body) {
    const auto with_type = [&]<typename T>() {
      rotated ? body.template operator()<T, RotatedBoxes>()
              : body.template operator()<T, CornerBoxes>();
    };
    boxes.scalar_type() == at::kDouble ? with_type.template operator()<double>()
                                       : with_type.template operator()<float>();
  }

  static Tensor classes_of(const NmsArgs& args, const Tensor& order) {
    if (!args.idxs.defined()) {
      return {};
    }
    const Tensor classes = args.idxs.to(at::kLong);
    return (order.defined() ? classes.gather(-1, order) : classes).contiguous();
  }

  template <typename T, typename Kind>
  static Tensor prepare(const Tensor& boxes, bool clockwise, const Tensor& order) {
    const Tensor rows = boxes.to(kType<T>).contiguous();
    const int64_t images = image_count(boxes), count = boxes.size(-2);
    const Tensor fields = at::empty({images, count, Kind::kFields}, rows.options());
    const int64_t threads = Launcher::threads();
    Launcher::launch(cuda::PrepareBoxes<T, Kind>{{pointer<T>(rows), pointer<int64_t>(order), images,
                                                     count, clockwise},
                         fields.mutable_data_ptr<T>()},
        (images * count + threads - 1) / threads);
    return fields;
  }

  // Calls run(call) for one chunk of rows after the other.
  template <typename Run>
  static void suppress(const NmsArgs& args, const Tensor& order, Run&& run, const Tensor& numbers,
      const Tensor& count) {
    constexpr int64_t kMaskWords = (int64_t{64} << 20) / int64_t{sizeof(uint64_t)};
    const int64_t images = count.numel(), boxes = args.boxes.size(-2);
    const int64_t words = (boxes + cuda::kWordBits - 1) / cuda::kWordBits;
    const int64_t fit = std::max<int64_t>(kMaskWords / (images * words * cuda::kWordBits), 1);
    const int64_t rows = std::min(fit, words) * cuda::kWordBits;
    const Tensor mask = at::empty({images, rows, words}, order.options());
    const Tensor removed = at::zeros({images, words}, order.options());
    const auto bits = [](const Tensor& tensor) {
      return reinterpret_cast<uint64_t*>(tensor.mutable_data_ptr<int64_t>());
    };
    for (int64_t first = 0; first < boxes; first += rows) {
      const int64_t left = (boxes - first + cuda::kWordBits - 1) / cuda::kWordBits;
      run(cuda::Suppression{images, boxes, words, first, std::min(rows, left * cuda::kWordBits),
          numbers.size(-1), bits(mask), bits(removed), count.mutable_data_ptr<int64_t>()});
    }
  }
};

}  // namespace roiops
