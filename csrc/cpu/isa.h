// What an engine includes before it opens the namespace of its instruction set.
#pragma once

#include <utility>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef ROIOPS_ISA
#error "compile this file with ROIOPS_ISA=<name of the instruction set>"
#endif
