// Finds shapes in a picture, without Python, and draws their boxes.
//
//   detect MODEL PICTURE.ppm OUTPUT.ppm [LEAST_SCORE]
//
// MODEL is a file that export.py writes: TorchScript (.pt) or an AOTInductor package (.pt2).
// Prints a line for each object: class, score, and the box, (x1, y1, x2, y2) or (cx, cy, w, h,
// angle). roiops is linked, not called: the models find its operators by name.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include <c10/core/InferenceMode.h>
#include <roiops/roiops.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include "picture.h"

namespace {

struct Class {
  const char* name;
  std::array<uint8_t, 3> colour;
};

// Those of data.py and draw.py.
constexpr std::array<Class, 4> kClasses{{
    {"ellipse", {255, 214, 10}},
    {"rectangle", {0, 229, 255}},
    {"triangle", {124, 255, 107}},
    {"star", {255, 95, 210}},
}};

// Of one picture.
struct Detections {
  at::Tensor boxes;   // [D, 4 or 5]
  at::Tensor scores;  // [D], best first
  at::Tensor labels;  // [D]
};

Detections run(const std::string& model, const at::Tensor& images) {
  if (std::string_view(model).ends_with(".pt2")) {
    torch::inductor::AOTIModelPackageLoader package(model);
    const std::vector<at::Tensor> results = package.run({images});
    return {results.at(0)[0], results.at(1)[0], results.at(2)[0]};
  }
  const auto results = torch::jit::load(model).forward({images}).toTuple()->elements();
  return {results.at(0).toTensor()[0], results.at(1).toTensor()[0], results.at(2).toTensor()[0]};
}

struct Point {
  float x, y;
};

// In order around a box of either kind.
std::array<Point, 4> corners_of(const at::Tensor& box) {
  const float* v = box.const_data_ptr<float>();
  if (box.numel() == 4)
    return {{{v[0], v[1]}, {v[2], v[1]}, {v[2], v[3]}, {v[0], v[3]}}};
  const float c = std::cos(v[4]), s = std::sin(v[4]);
  const Point across{c * v[2] / 2, -s * v[2] / 2}, down{s * v[3] / 2, c * v[3] / 2};
  const auto corner = [&](float u, float t) -> Point {
    return {v[0] + (u * across.x + t * down.x), v[1] + (u * across.y + t * down.y)};
  };
  return {{corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)}};
}

// In steps of half a pixel, two pixels wide. `pixels` is [H, W, 3].
void draw_line(at::Tensor& pixels, Point from, Point to, const std::array<uint8_t, 3>& colour) {
  auto at = pixels.accessor<uint8_t, 3>();
  const float across = to.x - from.x, down = to.y - from.y;
  const int64_t steps = int64_t(std::max(std::abs(across), std::abs(down)) * 2) + 1;
  for (int64_t k = 0; k <= steps; ++k) {
    const auto x = std::llrint(from.x + across * float(k) / float(steps));
    const auto y = std::llrint(from.y + down * float(k) / float(steps));
    for (int64_t row = std::max(y - 1, 0LL); row <= std::min<int64_t>(y, at.size(0) - 1); ++row)
      for (int64_t column = std::max(x - 1, 0LL); column <= std::min<int64_t>(x, at.size(1) - 1);
          ++column)
        for (int64_t c = 0; c < 3; ++c)
          at[row][column][c] = colour[c];
  }
}

void print(const Class& kind, float score, const at::Tensor& box) {
  std::cout << kind.name << '\t' << score;
  for (int64_t i = 0; i < box.numel(); ++i)
    std::cout << '\t' << box[i].item<float>();
  std::cout << '\n';
}

void detect(const std::string& model, const std::string& picture, const std::string& output,
    float least_score) {
  const c10::InferenceMode guard;
  at::Tensor pixels = load_picture(picture);
  const at::Tensor images = pixels.permute({2, 0, 1}).to(at::kFloat).div(255).unsqueeze(0);
  const Detections found = run(model, images.contiguous());
  const int64_t count = found.scores.ge(least_score).sum().item<int64_t>();
  std::cout.precision(9);
  for (int64_t i = 0; i < count; ++i)
    print(kClasses.at(found.labels[i].item<int64_t>()), found.scores[i].item<float>(),
        found.boxes[i]);
  for (int64_t i = count - 1; i >= 0; --i) {  // the best one on top
    const auto corners = corners_of(found.boxes[i].contiguous());
    for (size_t k = 0; k < corners.size(); ++k)
      draw_line(pixels, corners[k], corners[(k + 1) % corners.size()],
          kClasses.at(found.labels[i].item<int64_t>()).colour);
  }
  save_picture(pixels, output);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::cerr << "usage: detect MODEL PICTURE.ppm OUTPUT.ppm [LEAST_SCORE]\n";
    return 2;
  }
  try {
    detect(argv[1], argv[2], argv[3], argc == 5 ? std::strtof(argv[4], nullptr) : 0.7f);
    return 0;
  } catch (const c10::Error& error) {
    std::cerr << "detect: " << error.what_without_backtrace() << '\n';
  } catch (const std::exception& error) {
    std::cerr << "detect: " << error.what() << '\n';
  }
  return 1;
}
