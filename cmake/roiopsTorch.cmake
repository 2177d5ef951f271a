# Makes the targets `torch` and `c10`, and Torch_VERSION. Used by the build and, installed beside
# roiopsConfig.cmake, by consumers.
#
# A CUDA build of torch makes find_package(Torch) demand a CUDA toolkit, even of a program that
# needs none. Such a torch is therefore taken from its folder, unless the caller has found it
# already. ROIOPS_TORCH_ROOT names that folder, the one that holds include and lib.
if(TARGET torch)
  return()
endif()
if(NOT ROIOPS_TORCH_ROOT)
  find_file(_roiops_torch_config TorchConfig.cmake
    HINTS ${Torch_DIR} ${_roiops_torch_hint}
    PATH_SUFFIXES share/cmake/Torch Torch cmake/Torch NO_CACHE)
  if(_roiops_torch_config)
    get_filename_component(_root "${_roiops_torch_config}/../../../.." ABSOLUTE)
    if(EXISTS "${_root}/lib/libtorch_cuda.so")
      set(ROIOPS_TORCH_ROOT "${_root}")
    else()
      get_filename_component(Torch_DIR "${_roiops_torch_config}" DIRECTORY)
    endif()
  endif()
endif()
if(NOT ROIOPS_TORCH_ROOT)
  find_package(Torch REQUIRED)
  return()
endif()

set(_lib "${ROIOPS_TORCH_ROOT}/lib")
foreach(_name c10 torch_cpu)
  add_library(${_name} SHARED IMPORTED)
  set_target_properties(${_name} PROPERTIES
    IMPORTED_LOCATION "${_lib}/lib${_name}.so"
    INTERFACE_INCLUDE_DIRECTORIES
      "${ROIOPS_TORCH_ROOT}/include;${ROIOPS_TORCH_ROOT}/include/torch/csrc/api/include")
endforeach()
add_library(torch INTERFACE IMPORTED)
# libtorch.so itself has no symbol, but AOTInductor packages ask for it. It also brings
# libtorch_cuda, libc10_cuda and the CUDA runtime, which torch's own rpath finds: a library with
# CUDA kernels that named them again would make all its consumers find them again.
set_property(TARGET torch PROPERTY INTERFACE_LINK_LIBRARIES
  "-Wl,--push-state,--no-as-needed,${_lib}/libtorch.so,--pop-state" torch_cpu c10)
file(READ "${ROIOPS_TORCH_ROOT}/include/torch/headeronly/version.h" _torch_version)
string(REGEX REPLACE ".*_MAJOR ([0-9]+).*_MINOR ([0-9]+).*_PATCH ([0-9]+).*" "\\1.\\2.\\3"
  Torch_VERSION "${_torch_version}")
