// core_bits_cxx <file of boxes>
#include "core_bits.h"

int main(int, char** arguments) {
  roiops::print(roiops::fingerprints_on_host(roiops::read_boxes(arguments[1])));
}
