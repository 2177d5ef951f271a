// Huge pages for large results.
#pragma once

#include <cstdint>

namespace roiops::cpu {

// Asks the system to back fresh memory of several MB with huge pages: first touch of 4 KiB pages
// takes longer than filling them. Does nothing where that cannot be asked for, nor with
// ROIOPS_HUGE_PAGES=0.
void advise_huge_pages(void* data, int64_t bytes);

}  // namespace roiops::cpu
