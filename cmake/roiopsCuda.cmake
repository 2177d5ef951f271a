# Decides whether the CUDA kernels are built. If so, CUDA is enabled and ROIOPS_CUDA_INCLUDES lists
# the folders of headers; if not, ROIOPS_NO_CUDA says why in one sentence, which a CUDA tensor gets
# to read.
#
# Neither find_package(Torch) nor FindCUDAToolkit is asked: they demand libraries (cuBLAS, NVRTC,
# ...) that are no part of a minimal toolkit and that torch's Python packages bring along.
include(CheckLanguage)
include("${CMAKE_CURRENT_LIST_DIR}/cudaArchitectures.cmake")
set(ROIOPS_WITH_CUDA AUTO CACHE STRING "CUDA kernels: ON, OFF, or AUTO: where torch and nvcc allow")
set(ROIOPS_NO_CUDA "")
set(ROIOPS_CUDA_INCLUDES "")

# Leaves this file.
macro(roiops_no_cuda reason)
  if(ROIOPS_WITH_CUDA STREQUAL "ON")
    message(FATAL_ERROR "roiops: ROIOPS_WITH_CUDA is ON, but ${reason}.")
  endif()
  message(STATUS "roiops is built without CUDA kernels: ${reason}.")
  set(ROIOPS_NO_CUDA "${reason}")
  return()
endmacro()

if(NOT ROIOPS_WITH_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR
    "roiops: ROIOPS_WITH_CUDA must be AUTO, ON or OFF, but got \"${ROIOPS_WITH_CUDA}\".")
endif()
if(ROIOPS_WITH_CUDA STREQUAL "OFF")
  roiops_no_cuda("ROIOPS_WITH_CUDA was OFF")
endif()
if(NOT EXISTS "${ROIOPS_TORCH_ROOT}/lib/libtorch_cuda.so")
  roiops_no_cuda("torch ${Torch_VERSION} is not a CUDA build; install one that is")
endif()
# The first that knows C++20 for the nvcc of CUDA 12 and 13.
if(CMAKE_VERSION VERSION_LESS 3.28)
  roiops_no_cuda(
    "CMake ${CMAKE_VERSION} is too old for CUDA; `pip install 'cmake>=3.28'` brings a newer one")
endif()

# Where pip installs NVIDIA's packages, of which torch's are some.
file(GLOB _nvidia LIST_DIRECTORIES true "${ROIOPS_TORCH_ROOT}/../nvidia/*")
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(_nvcc nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda ${_nvidia}
    PATH_SUFFIXES bin NO_CACHE)
  if(NOT _nvcc)
    roiops_no_cuda(
      "nvcc is neither on PATH nor in CUDA_HOME or /usr/local/cuda; install the CUDA toolkit")
  endif()
  set(ENV{CUDACXX} "${_nvcc}")
endif()
if(NOT CMAKE_CUDA_HOST_COMPILER AND NOT DEFINED ENV{CUDAHOSTCXX})
  set(ENV{CUDAHOSTCXX} "${CMAKE_CXX_COMPILER}")
endif()
if(NOT CMAKE_CUDA_COMPILER)
  unset(CMAKE_CUDA_COMPILER CACHE) # a failure of an earlier configuration
endif()
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  roiops_no_cuda("nvcc ($ENV{CUDACXX}) cannot compile with $ENV{CUDAHOSTCXX} as host compiler")
endif()

if(NOT DEFINED TORCH_CUDA_ARCH_LIST)
  set(TORCH_CUDA_ARCH_LIST "$ENV{TORCH_CUDA_ARCH_LIST}")
endif()
if(NOT TORCH_CUDA_ARCH_LIST)
  roiops_default_cuda_architectures(TORCH_CUDA_ARCH_LIST "${CMAKE_CUDA_COMPILER}")
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  roiops_cuda_architectures(CMAKE_CUDA_ARCHITECTURES "${TORCH_CUDA_ARCH_LIST}")
endif()
enable_language(CUDA)
if(NOT cuda_std_20 IN_LIST CMAKE_CUDA_COMPILE_FEATURES)
  roiops_no_cuda("nvcc ${CMAKE_CUDA_COMPILER_VERSION} does not know C++20; install CUDA 12 or newer")
endif()

# The runtime that torch uses, as named in its library: libcudart.so.13, or
# libcudart-9335f6a2.so.12 in libtorch.
file(STRINGS "${ROIOPS_TORCH_ROOT}/lib/libc10_cuda.so" _cudart
  REGEX "^libcudart[-.a-z0-9]*[.]so[.]" LIMIT_COUNT 1)
string(REGEX REPLACE ".*[.]so[.]([0-9]+).*" "\\1" _torch_cuda "${_cudart}")
string(REGEX REPLACE "[.].*" "" _nvcc_cuda "${CMAKE_CUDA_COMPILER_VERSION}")
if(_torch_cuda AND NOT _torch_cuda EQUAL _nvcc_cuda)
  roiops_no_cuda("nvcc is of CUDA ${CMAKE_CUDA_COMPILER_VERSION}, but torch was built with CUDA \
${_torch_cuda}; install the toolkit that torch was built with")
endif()

list(TRANSFORM _nvidia APPEND "/include")
set(ROIOPS_CUDA_INCLUDES ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
# What ATen/cuda/CUDAContext.h includes beyond the runtime.
foreach(_header cublas_v2.h cublasLt.h cusolverDn.h cusparse.h)
  find_path(_folder ${_header} PATHS ${ROIOPS_CUDA_INCLUDES} ${_nvidia} NO_DEFAULT_PATH NO_CACHE)
  if(NOT _folder)
    roiops_no_cuda("${_header}, which torch's headers need, is neither in the CUDA toolkit nor in \
torch's Python packages; install the whole toolkit")
  endif()
  list(APPEND ROIOPS_CUDA_INCLUDES "${_folder}")
  unset(_folder)
endforeach()
list(REMOVE_DUPLICATES ROIOPS_CUDA_INCLUDES)
message(STATUS "roiops: CUDA ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
