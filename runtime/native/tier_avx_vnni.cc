// AVX-VNNI: the products of bytes of AVX-512 VNNI in registers of AVX2, for processors that have no AVX-512. Those that have
// AVX-512 VNNI have the same instruction in another encoding; it is used where DAQ_ISA asks for this tier there.

#include "tier_bytes.h"

namespace daq {
namespace {

struct VexDot {
  static Sums of(Sums sum, Sums codes, Sums weights) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(codes), "x"(weights));
    return sum;
  }
};

struct EvexDot {
  static Sums of(Sums sum, Sums codes, Sums weights) {
    __asm__("%{evex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(codes), "x"(weights));
    return sum;
  }
};

// Pixels, or pairs, of a block: twelve sums of eight channels stay in registers, two of weights, one of codes.
constexpr int kInRegisters = 6;

template <class Dot>
void accumulate(const Accumulation& a, CodeFormat format, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  for (int block = 0; block < count; ++block) {
    rows<Dot, kInRegisters, 1>(a, format, x, pixels, first_block + block, sums + block * kBlock, stride);
  }
}

constexpr Kernels kernels(decltype(Kernels::accumulate) accumulate) {
  return {
      Isa::avx_vnni, kLargestChunk, kBlocksTogether, true, format, largest_shifted_code, largest_weight, steps, quantize,
      quantize_groups, pair, largest_product, fold, pack, accumulate, leave_nothing, kFinishedTogether, finish, finish_float,
      accumulate_float, planar_statistics,
  };
}

}  // namespace

extern const Kernels kAvxVnniKernels = kernels(accumulate<VexDot>);
extern const Kernels kAvxVnniEvexKernels = kernels(accumulate<EvexDot>);

}  // namespace daq
