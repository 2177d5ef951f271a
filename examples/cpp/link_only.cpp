// Links roiops::roiops without calling it: the operators must be registered all the same.
#include <cstdio>

#include <ATen/core/dispatch/Dispatcher.h>

int main() {
  const bool found = c10::Dispatcher::singleton().findSchema({"roiops::roi_align", ""}).has_value();
  std::puts(found ? "roiops::roi_align is registered" : "roiops::roi_align is NOT registered");
  return found ? 0 : 1;
}
