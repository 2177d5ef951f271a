// A hand-written autograd node. Unlike autograd::Function it supports forward AD and torch.func;
// unlike Python's register_autograd it works in C++ programs and TorchScript.
//
// NOTE [torch versions]
// What differs between torch versions in autograd is asked of the types here, never of a version
// number: Node is held by shared_ptr up to 2.12 and by intrusive_ptr later.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/VariableTypeUtils.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/dynamo/compiled_autograd.h>

namespace roiops {

namespace ag = torch::autograd;
namespace da = torch::dynamo::autograd;

template <typename T>
auto new_node() {
  if constexpr (std::is_same_v<decltype(ag::Edge::function), std::shared_ptr<ag::Node>>) {
    return std::shared_ptr<T>(new T(), [](T* p) { deleteNode(p); });
  } else {
    return c10::make_intrusive<T>();
  }
}

template <typename T>
using node_ptr = decltype(new_node<T>());

inline ag::SavedVariable save(const at::Tensor& tensor) {
  return ag::SavedVariable(tensor, /*is_output=*/false);
}

// Calls the next kernel of `op`, the autograd keys, which have been dealt with, switched off.
template <typename Signature, typename... Args>
auto below_autograd(
    const c10::TypedOperatorHandle<Signature>& op, c10::DispatchKeySet keys, Args&&... args) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  return op.redispatch(keys & c10::after_autograd_keyset, std::forward<Args>(args)...);
}

// A saved field as backward sees it: the tensor of a SavedVariable, any other value as it is.
inline at::Tensor value(const ag::SavedVariable& field) {
  return field.unpack();
}
inline std::vector<at::Tensor> value(const std::vector<ag::SavedVariable>& fields) {
  std::vector<at::Tensor> values;
  for (const ag::SavedVariable& field : fields) {
    values.push_back(value(field));
  }
  return values;
}
template <typename T>
T value(const T& field) {
  return field;
}

inline void release(ag::SavedVariable& field) {
  field.reset_data();
}
inline void release(std::vector<ag::SavedVariable>& fields) {
  for (ag::SavedVariable& field : fields) {
    release(field);
  }
}
template <typename T>
void release(T&) {}

inline void collect(ag::CompiledNodeArgs& args, const ag::SavedVariable& field) {
  args.collect(field, /*is_output=*/false);
}
inline void collect(ag::CompiledNodeArgs& args, const std::vector<ag::SavedVariable>& fields) {
  args.collect(fields, /*is_output=*/false);
}
template <typename T>
void collect(ag::CompiledNodeArgs& args, const T& field) {
  args.collect(field);
}

// Self has kName, fields() = std::tie of its saved members, and
//   static variable_list backward(grads, need, value of each field...).
// need[i] says whether the input of edge i wants a gradient; integers, because compiled autograd
// cannot pack a vector of bool.
using Need = std::vector<int64_t>;

template <typename Self>
struct OpNode : ag::Node {
  std::string name() const override {
    return Self::kName;
  }

  ag::variable_list apply(ag::variable_list&& grads) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return with_fields(
        [&](auto&... field) { return Self::backward(grads, need(), value(field)...); });
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    with_fields([](auto&... field) { (release(field), ...); });
  }

  // The remaining members are what compiled autograd asks of a node.
  void compiled_args(ag::CompiledNodeArgs& args) const override {
    const_cast<OpNode*>(this)->with_fields([&](auto&... field) { (collect(args, field), ...); });
  }

  ag::variable_list apply_with_saved(
      const ag::variable_list& grads, ag::SwapSavedVariables& saved) override {
    da::PackedArgs packed;
    packed.pack(need());
    with_fields([&](auto&... field) {
      (saved.before(field), ...);
      (packed.pack(value(field)), ...);
    });
    const auto args = std::move(packed).vec();
    std::vector<at::TypePtr> types;
    types.reserve(args.size());
    for (const auto& arg : args) {
      types.push_back(arg.isTensor() ? at::TypePtr(at::TensorType::get()) : arg.type());
    }
    const auto metadata = da::IValuePacker<std::vector<std::optional<ag::InputMetadata>>>::pack(
        da::get_input_metadata(next_edges()));
    const auto& python = da::getPyCompilerInterface();
    const auto function = python->bind_function(
        saved.get_py_compiler(), name(),
        [](const ag::variable_list& inputs, const std::vector<c10::IValue>& values) {
          return call(inputs, da::PackedArgs(values),
              static_cast<decltype(std::declval<Self&>().fields())*>(nullptr));
        },
        types, /*is_custom_function=*/true, /*is_traceable=*/true);
    auto result = python->call_function(
        saved.get_py_compiler(), "apply_functional", function, grads, args, metadata);
    with_fields([&](auto&... field) { (saved.after(field), ...); });
    return result;
  }

 private:
  template <typename F>
  auto with_fields(F&& body) {
    return std::apply(body, static_cast<Self&>(*this).fields());
  }

  Need need() {
    Need needed;
    for (size_t i = 0; i < num_outputs(); ++i) {
      needed.push_back(task_should_compute_output(i));
    }
    return needed;
  }

  template <typename... Field>
  static ag::variable_list call(
      const ag::variable_list& grads, da::PackedArgs packed, std::tuple<Field&...>*) {
    const auto needed = packed.unpack<Need>();
    // Braces: unpacking in the order of the fields.
    const std::tuple<decltype(value(std::declval<Field&>()))...> values{
        packed.template unpack<decltype(value(std::declval<Field&>()))>()...};
    return std::apply(
        [&](const auto&... field) { return Self::backward(grads, needed, field...); }, values);
  }
};

}  // namespace roiops
