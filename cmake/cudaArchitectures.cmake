# Which GPUs the CUDA kernels are compiled for, in CMake's notation: 90-real is machine code of
# compute capability 9.0, and 90 has PTX for later GPUs as well.

# From torch's notation, "8.0;9.0+PTX".
function(roiops_cuda_architectures result torch_list)
  string(REGEX REPLACE "[ ,]+" ";" items "${torch_list}")
  set(architectures "")
  foreach(item IN LISTS items)
    if(NOT item MATCHES "^([0-9]+)[.]([0-9]+[af]?)([+]PTX)?$")
      message(FATAL_ERROR
        "roiops: TORCH_CUDA_ARCH_LIST must be like \"8.0;9.0+PTX\", but got \"${torch_list}\".")
    endif()
    set(real "-real")
    if(CMAKE_MATCH_3)
      set(real "")
    endif()
    list(APPEND architectures "${CMAKE_MATCH_1}${CMAKE_MATCH_2}${real}")
  endforeach()
  set(${result} "${architectures}" PARENT_SCOPE)
endfunction()

# The GPUs of this machine, or, on a machine without, those that this nvcc knows of a list; in
# torch's notation.
function(roiops_default_cuda_architectures result nvcc)
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE present RESULT_VARIABLE failed ERROR_QUIET)
  string(REGEX MATCHALL "[0-9]+[.][0-9]+" present "${present}")
  if(NOT failed AND present)
    list(REMOVE_DUPLICATES present)
    set(${result} "${present}" PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND "${nvcc}" --list-gpu-arch OUTPUT_VARIABLE known)
  set(chosen "")
  foreach(item 7.5 8.0 8.6 8.9 9.0 10.0 12.0)
    string(REPLACE "." "" number "${item}")
    if(known MATCHES "compute_${number}\n")
      list(APPEND chosen "${item}")
    endif()
  endforeach()
  set(${result} "${chosen}+PTX" PARENT_SCOPE)
endfunction()
