#include "peak.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "isa.h"

namespace daq {
namespace {

constexpr int64_t kRounds = 100000;  // between two looks at the clock

// Each loop adds to so many sums that none waits for the one before it, and returns the operations of kRounds rounds. What
// the registers hold does not matter to the speed of integers.

volatile int32_t kept;  // sums go here, or the compiler would leave the loop out

int64_t portable_rounds() {
  constexpr int kSums = 64;
  int32_t sums[kSums] = {};
  int16_t weights[kSums];
  for (int i = 0; i < kSums; ++i) weights[i] = static_cast<int16_t>(i + kept);
  for (int64_t round = 0; round < kRounds; ++round) {
    const auto code = static_cast<int16_t>(round & 15);
    for (int i = 0; i < kSums; ++i) sums[i] += code * weights[i];
  }
  for (const int32_t sum : sums) kept = kept + sum;
  return kRounds * kSums * 2;
}

#if defined(__x86_64__)

#define DAQ_TWELVE(step) \
  step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)
#define DAQ_VECTOR_CLOBBERS                                                                                            \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15"

int64_t avx2_rounds() {
#define DAQ_STEP(sum) "vpmaddubsw %%ymm13, %%ymm14, %%ymm12\n\tvpaddw %%ymm12, %%ymm" #sum ", %%ymm" #sum "\n\t"
  for (int64_t round = 0; round < kRounds; ++round) __asm__ volatile(DAQ_TWELVE(DAQ_STEP)::: DAQ_VECTOR_CLOBBERS);
#undef DAQ_STEP
  __asm__ volatile("vzeroupper" ::: DAQ_VECTOR_CLOBBERS);
  return kRounds * 12 * 32 * 2;
}

template <bool kVex>
int64_t avx_vnni_rounds() {
#define DAQ_STEP(sum) "vpdpbusd %%ymm13, %%ymm14, %%ymm" #sum "\n\t"
#define DAQ_VEX_STEP(sum) "%{vex%} " DAQ_STEP(sum)
  for (int64_t round = 0; round < kRounds; ++round) {
    if constexpr (kVex) {
      __asm__ volatile(DAQ_TWELVE(DAQ_VEX_STEP)::: DAQ_VECTOR_CLOBBERS);
    } else {
      __asm__ volatile(DAQ_TWELVE(DAQ_STEP)::: DAQ_VECTOR_CLOBBERS);
    }
  }
#undef DAQ_VEX_STEP
#undef DAQ_STEP
  __asm__ volatile("vzeroupper" ::: DAQ_VECTOR_CLOBBERS);
  return kRounds * 12 * 32 * 2;
}

int64_t avx512_vnni_rounds() {
#define DAQ_STEP(sum) "vpdpbusd %%zmm13, %%zmm14, %%zmm" #sum "\n\t"
  for (int64_t round = 0; round < kRounds; ++round) __asm__ volatile(DAQ_TWELVE(DAQ_STEP)::: DAQ_VECTOR_CLOBBERS);
#undef DAQ_STEP
  __asm__ volatile("vzeroupper" ::: DAQ_VECTOR_CLOBBERS);
  return kRounds * 12 * 64 * 2;
}

int64_t amx_rounds() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t column_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } const configuration;
  __asm__ volatile("ldtilecfg %0" ::"m"(configuration));
  for (int64_t round = 0; round < kRounds; ++round) {
    __asm__ volatile(
        "tdpbusd %%tmm6, %%tmm4, %%tmm0\n\ttdpbusd %%tmm7, %%tmm4, %%tmm1\n\t"
        "tdpbusd %%tmm6, %%tmm5, %%tmm2\n\ttdpbusd %%tmm7, %%tmm5, %%tmm3" ::);
  }
  __asm__ volatile("tilerelease" ::);
  return kRounds * 4 * 16 * 16 * 64 * 2;
}

#endif

int64_t rounds(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::amx: return amx_rounds();
    case Isa::avx512_vnni: return avx512_vnni_rounds();
    case Isa::avx_vnni: return has_vex_vnni() ? avx_vnni_rounds<true>() : avx_vnni_rounds<false>();
    case Isa::avx2: return avx2_rounds();
    default: break;
  }
#endif
  static_cast<void>(isa);
  return portable_rounds();
}

}  // namespace
}  // namespace daq

double daq_native_int8_peak(double seconds) {
  using Clock = std::chrono::steady_clock;
  const daq::Isa isa = daq::chosen_isa();
  daq::rounds(isa);
  const Clock::time_point start = Clock::now();
  Clock::time_point last = start, now = start;
  double best = 0;
  while (std::chrono::duration<double>(now - start).count() < seconds) {
    const auto operations = static_cast<double>(daq::rounds(isa));
    now = Clock::now();
    best = std::max(best, operations / std::chrono::duration<double>(now - last).count());
    last = now;
  }
  return best;
}
