# Makes the target `torch` and Torch_VERSION.
#
# A CUDA build of torch makes find_package(Torch) demand a CUDA toolkit even for a CPU-only
# library. ROIOPS_TORCH_ROOT takes headers and libraries from the package directory instead.
if(ROIOPS_TORCH_ROOT)
  add_library(torch INTERFACE IMPORTED GLOBAL)
  set_target_properties(torch PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES
      "${ROIOPS_TORCH_ROOT}/include;${ROIOPS_TORCH_ROOT}/include/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES
      "${ROIOPS_TORCH_ROOT}/lib/libtorch_cpu.so;${ROIOPS_TORCH_ROOT}/lib/libc10.so")
  file(READ "${ROIOPS_TORCH_ROOT}/include/torch/headeronly/version.h" _torch_version)
  string(REGEX REPLACE ".*_MAJOR ([0-9]+).*_MINOR ([0-9]+).*_PATCH ([0-9]+).*" "\\1.\\2.\\3"
    Torch_VERSION "${_torch_version}")
else()
  find_package(Torch REQUIRED)
endif()
