// roiops in C++, without Python: the plain call, its gradient, a TorchScript model and an
// AOTInductor package, each compared to the results that Python stored.
//
//   consumer DIRECTORY     the files that examples/deploy.py writes
//
// Prints a line "path<TAB>quantity<TAB>difference" per comparison.
// Exit status: 0 all agree, 1 a difference exceeds the bound, 2 it could not run.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include <roiops/roiops.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

namespace {

using Path = std::filesystem::path;
using Tensors = std::unordered_map<std::string, at::Tensor>;

std::string existing(const Path& path) {
  if (!std::filesystem::is_regular_file(path))
    throw std::runtime_error("there is no file " + path.string() + "; `make demo` writes it");
  return path.string();
}

// A dictionary of tensors, as torch.save writes it.
Tensors load_tensors(const Path& path) {
  std::ifstream file(existing(path), std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  Tensors tensors;
  for (const auto& entry : torch::jit::pickle_load(bytes).toGenericDict())
    tensors.emplace(entry.key().toStringRef(), entry.value().toTensor());
  return tensors;
}

// Largest difference, in units of the largest expected value.
double difference(const at::Tensor& got, const at::Tensor& expected) {
  TORCH_CHECK(
      got.sizes() == expected.sizes(), "expected ", expected.sizes(), ", got ", got.sizes());
  return ((got - expected).abs().max() / expected.abs().max()).item<double>();
}

class Report {
 public:
  explicit Report(double bound) : bound_(bound) {}

  void compare(
      const char* path, const char* quantity, const at::Tensor& got, const at::Tensor& expected) {
    const double d = difference(got, expected);
    agrees_ = agrees_ && d <= bound_;  // false for NaN
    std::cout << path << '\t' << quantity << '\t' << d << std::endl;
  }
  bool agrees() const {
    return agrees_;
  }

 private:
  double bound_;
  bool agrees_ = true;
};

// Features as RegionFeatures takes them: 2 x 2 samples per bin, aligned.
at::Tensor pool(const Tensors& t, const at::Tensor& map, const at::Tensor& rois) {
  const at::Tensor& like = t.at("features");
  const double scale = double(map.size(3)) / double(t.at("image").size(3));
  return roiops::roi_align(map, rois, scale, like.size(2), like.size(3), 2, true);
}

void run_call(const Tensors& t, Report& report) {
  const at::Tensor& like = t.at("crops");
  const at::Tensor crops =
      roiops::roi_align(t.at("image"), t.at("rois"), 1.0, like.size(2), like.size(3), -1, true);
  report.compare(
      "roiops::roi_align", "features", pool(t, t.at("map"), t.at("rois")), t.at("features"));
  report.compare("roiops::roi_align", "crops", crops, like);
}

void run_gradient(const Tensors& t, Report& report) {
  const at::Tensor map = t.at("map").clone().requires_grad_();
  const at::Tensor rois = t.at("rois").clone().requires_grad_();
  pool(t, map, rois).square().sum().backward();
  report.compare("roiops::roi_align", "d map", map.grad(), t.at("d map"));
  report.compare("roiops::roi_align", "d rois", rois.grad(), t.at("d rois"));
}

void run_torchscript(const Path& file, const Tensors& t, Report& report) {
  const c10::InferenceMode guard;
  torch::jit::Module model = torch::jit::load(existing(file));
  const auto outputs = model.forward({t.at("image"), t.at("rois")}).toTuple()->elements();
  report.compare("TorchScript", "features", outputs.at(0).toTensor(), t.at("features"));
  report.compare("TorchScript", "crops", outputs.at(1).toTensor(), t.at("crops"));
}

void run_aotinductor(const Path& file, const Tensors& t, Report& report) {
  const c10::InferenceMode guard;
  torch::inductor::AOTIModelPackageLoader model(existing(file));
  const auto outputs = model.run({t.at("image"), t.at("rois")});
  report.compare("AOTInductor", "features", outputs.at(0), t.at("features"));
  report.compare("AOTInductor", "crops", outputs.at(1), t.at("crops"));
}

bool run_all(const Path& directory) {
  const Tensors tensors = load_tensors(directory / "reference.pt");
  Report report(tensors.at("bound").item<double>());
  run_call(tensors, report);
  run_gradient(tensors, report);
  run_torchscript(directory / "torchscript.pt", tensors, report);
  run_aotinductor(directory / "aotinductor.pt2", tensors, report);
  return report.agrees();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: consumer DIRECTORY\n";
    return 2;
  }
  try {
    return run_all(argv[1]) ? 0 : 1;
  } catch (const c10::Error& error) {
    std::cerr << "consumer: " << error.what_without_backtrace() << '\n';
  } catch (const std::exception& error) {
    std::cerr << "consumer: " << error.what() << '\n';
  }
  return 2;
}
