// Tensors as the engines read and write them.
#pragma once

#include <ATen/Dispatch.h>

#include "core/separable.h"
#include "core/view.h"
#include "cpu/pages.h"
#include "torch/mean_op.h"

namespace roiops {

#define ROIOPS_DISPATCH(TYPE, NAME, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, TYPE, NAME, __VA_ARGS__)

template <typename T>
constexpr at::ScalarType kType = c10::CppTypeToScalarType<T>::value;

// Whether the last two dimensions can be walked as one.
inline bool has_item_stride(const Tensor& t) {
  return t.size(3) == 1 || t.size(2) <= 1 || t.stride(2) == t.stride(3) * t.size(3);
}

inline Tensor with_item_stride(const Tensor& t) {
  return has_item_stride(t) ? t : t.contiguous(t.suggest_memory_format());
}

template <typename S>
View<S> view_of(const Tensor& t, S* data) {
  return {data, t.stride(0), t.stride(1), t.size(3) == 1 ? t.stride(2) : t.stride(3), t.size(1),
      t.size(2) * t.size(3)};
}

template <typename S>
View<const S> read(const Tensor& t) {
  return view_of(t, t.const_data_ptr<S>());
}

template <typename S>
View<S> write(const Tensor& t) {
  return view_of(t, t.mutable_data_ptr<S>());
}

// For memory that is about to be written for the first time, on the CPU.
inline const Tensor& in_huge_pages(const Tensor& t) {
  cpu::advise_huge_pages(t.mutable_data_ptr(), static_cast<int64_t>(t.nbytes()));
  return t;
}

inline MapSize map_size(const Tensor& map) {
  return {static_cast<int32_t>(map.size(2)), static_cast<int32_t>(map.size(3))};
}

// Bins of a RoI.
inline MapSize bin_grid(const RoiCall& call) {
  return {static_cast<int32_t>(call.output_size[0].expect_int()),
      static_cast<int32_t>(call.output_size[1].expect_int())};
}

}  // namespace roiops
