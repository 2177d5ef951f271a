// Runs the checked-in TorchScript file (test/fixtures/make_torchscript.py) without Python.
//
//   saved_model FILE
//
// Prints a line "model operator largest-difference" per result.
#include <iostream>
#include <string>

#include <torch/script.h>

namespace {

void compare(const char* model, const c10::IValue& got, const c10::IValue& expected) {
  const auto results = got.toGenericDict();
  for (const auto& entry : expected.toGenericDict()) {
    const at::Tensor value = entry.value().toTensor();
    const at::Tensor result = results.at(entry.key()).toTensor();
    TORCH_CHECK(result.sizes() == value.sizes(), entry.key(), " has another shape");
    std::cout << model << ' ' << entry.key().toStringRef() << ' '
              << (result - value).abs().max().item<double>() << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: saved_model FILE\n";
    return 2;
  }
  torch::jit::Module saved = torch::jit::load(argv[1]);
  const std::vector<c10::IValue> inputs = {saved.attr("x"), saved.attr("boxes")};
  compare("scripted", saved.forward(inputs), saved.attr("expected"));
  compare("traced", saved.get_method("run_traced")(inputs), saved.attr("expected"));
  return 0;
}
