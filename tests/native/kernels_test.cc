// The native kernels over random shapes, at every tier that this processor has, without ONNX Runtime: results against the
// definition in double precision, statistics against the values before rounding, one thread against several. Built with
// AddressSanitizer and UndefinedBehaviorSanitizer by `make test-sanitizers`. Tensors have exactly the size they must have, so
// that a read or write past their end is found.
//
// kernels_test [CASES [SEED]]

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "test_support.h"

namespace {

bool can_run(daq::Isa isa) {
#if defined(DAQ_EMULATE_TILES)
  // Tiles are emulated; the rest of that tier is AVX-512, with VBMI where this processor has it.
  if (isa == daq::Isa::amx) return daq::isa_available(daq::Isa::avx512_vnni);
#endif
  return daq::isa_available(isa);
}

}  // namespace

int main(int count, char** arguments) {
  const int cases = count > 1 ? std::atoi(arguments[1]) : 100;
  const unsigned seed = count > 2 ? static_cast<unsigned>(std::atoi(arguments[2])) : 1;
  const std::pair<const char*, bool (*)(const daq::Kernels&)> tests[] = {{"convolution", test_convolution},
                                                                         {"float convolution", test_float_convolution},
                                                                         {"layouts", test_layouts},
                                                                         {"elementwise", test_elementwise},
                                                                         {"resampling", test_resampling},
                                                                         {"ranges", test_ranges}};
  for (const daq::Isa isa : {daq::Isa::portable, daq::Isa::avx2, daq::Isa::avx_vnni, daq::Isa::avx512_vnni,
                            daq::Isa::amx}) {
    if (!can_run(isa)) {
      std::printf("%s is skipped: not on this processor\n", daq::isa_name(isa));
      continue;
    }
    for (const auto& [name, test] : tests) {
      for (int number = 0; number < cases; ++number) {
        generator.seed(seed * 100003 + static_cast<unsigned>(number));  // every tier gets the same cases
        current = std::string(daq::isa_name(isa)) + " " + name + " " + std::to_string(number);
        (test(daq::kernels_of(isa)) ? passed : failed) += 1;
      }
    }
    std::printf("%s done\n", daq::isa_name(isa));
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
