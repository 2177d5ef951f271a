// Pictures in the one format that needs no library: binary PPM ("P6", 8 bits).
#pragma once

#include <cstdint>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>

#include <ATen/ATen.h>

// The next number of the header; a comment goes from # to the end of the line.
inline int64_t next_number(std::istream& file) {
  while ((file >> std::ws).peek() == '#')
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  int64_t number = 0;
  file >> number;
  return number;
}

// [H, W, 3], uint8.
inline at::Tensor load_picture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw std::runtime_error("there is no file " + path);
  std::string kind(2, ' ');
  file.read(kind.data(), 2);
  const int64_t width = next_number(file), height = next_number(file), largest = next_number(file);
  constexpr int64_t kMost = 1 << 15;
  const bool sizes = width > 0 && height > 0 && width <= kMost && height <= kMost;
  if (!file || kind != "P6" || largest != 255 || !sizes)
    throw std::runtime_error(path + " is no binary PPM with 8 bits; `convert picture.jpg " + path +
                             "` or Pillow's save makes one");
  file.get();  // one white space
  at::Tensor pixels = at::empty({height, width, 3}, at::kByte);
  file.read(reinterpret_cast<char*>(pixels.mutable_data_ptr<uint8_t>()), pixels.numel());
  if (!file)
    throw std::runtime_error(path + " ends too early");
  return pixels;
}

inline void save_picture(const at::Tensor& pixels, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  file << "P6\n" << pixels.size(1) << ' ' << pixels.size(0) << "\n255\n";
  file.write(reinterpret_cast<const char*>(pixels.const_data_ptr<uint8_t>()), pixels.numel());
  if (!file.flush())
    throw std::runtime_error("cannot write " + path);
}
